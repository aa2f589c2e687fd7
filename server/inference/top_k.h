// From a row of scores to the classes a client asked for.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace torchd {

struct ScoredClass {
  int32_t index = 0;
  float score = 0;  // A probability after softmax.
};

// The `k` highest, highest first, equal ones in the order of their index. With `softmax` the scores
// become probabilities over all classes. INTERNAL when a score is NaN or infinite: an order would
// be nonsense. Requires: 1 <= k <= scores.size().
absl::StatusOr<std::vector<ScoredClass>> TopK(absl::Span<const float> scores, int k, bool softmax);

}  // namespace torchd
