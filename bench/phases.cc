#include "bench/phases.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace torchd::bench {
namespace {

// Written so that NaN fails too.
bool ParsePhase(absl::string_view text, Phase& phase) {
  const std::vector<absl::string_view> pair = absl::StrSplit(text, 'x');
  return pair.size() == 2 && absl::SimpleAtod(pair[0], &phase.per_second) &&
         absl::SimpleAtod(pair[1], &phase.seconds) && phase.per_second >= 0 &&
         phase.per_second <= Phase::kRateMax && phase.seconds > 0 &&
         phase.seconds <= Phase::kSecondsMax;
}

}  // namespace

absl::StatusOr<std::vector<Phase>> ParsePhases(absl::string_view text) {
  std::vector<Phase> phases;
  double planned = 0;
  for (const absl::string_view word : absl::StrSplit(text, ',')) {
    Phase phase;
    if (!ParsePhase(word, phase)) {
      return absl::InvalidArgumentError(
          absl::StrCat("phase ", phases.size() + 1, " is '", word,
                       "'; expected RATExSECONDS, such as 200x30, with a rate of 0 to 1000000 and "
                       "more than 0 to 3600 seconds"));
    }
    phases.push_back(phase);
    planned += phase.per_second * phase.seconds;
  }
  if (planned > kCallsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("the phases plan about ", planned, " calls; expected at most ", kCallsMax));
  }
  return phases;
}

}  // namespace torchd::bench
