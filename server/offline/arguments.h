// What the command line of `torchd bench` asks for. Pure: no file is opened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/plan.h"

namespace torchd {

struct OfflineArguments {
  bool help = false;                // Then nothing else need be right.
  std::string model_file;           // Required.
  std::vector<std::string> inputs;  // One for each input of the model, in its order; or none.
  std::string labels_file;          // Empty: labels.txt beside the model, if there is one.
  std::optional<Plan> plan;         // Unset: what the model's configuration says, else the default.
  int64_t length = 0;     // Of sizes that the model leaves open; 0: the usual. Not with `inputs`.
  int64_t batch = 1;      // 1..1024
  int64_t warm_up = 10;   // 0..10'000
  int64_t repeats = 100;  // 1..1'000'000
  int64_t threads = 0;    // 1..256; 0: all cores.
};

// `words`: argv after `bench`. INVALID_ARGUMENT names the flag, the value and what was expected.
absl::StatusOr<OfflineArguments> ParseOfflineArguments(const std::vector<std::string>& words);

// The text of `torchd bench --help`.
std::string OfflineHelpText();

}  // namespace torchd
