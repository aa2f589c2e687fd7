// The phases of an open-loop run: "100x5,300x60" is 100 calls a second for 5 s, then 300 for 60 s.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace torchd::bench {

struct Phase {
  static constexpr double kRateMax = 1'000'000;
  static constexpr double kSecondsMax = 3600;

  double per_second = 0;  // On average, of all clients and models together; 0 is a pause.
  double seconds = 0;
};

// How many calls a run may make: each is remembered until the end.
inline constexpr double kCallsMax = 5'000'000;

// INVALID_ARGUMENT says which phase is wrong and what was expected.
absl::StatusOr<std::vector<Phase>> ParsePhases(absl::string_view text);

}  // namespace torchd::bench
