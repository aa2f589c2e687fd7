// From a row of scores to the classes a client asked for.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace torchd {

struct ScoredClass {
  int32_t index = 0;
  float score = 0;  // A probability after softmax.
};

// Whether every score is a number: not NaN, not infinite.
bool AllFinite(absl::Span<const float> scores);

// The `k` highest, highest first, equal ones in the order of their index. With `softmax` the scores
// become probabilities over all classes. Those that are NaN or infinite count as not there, so
// there may be fewer than `k`. Requires: 1 <= k <= scores.size().
std::vector<ScoredClass> TopK(absl::Span<const float> scores, int k, bool softmax);

}  // namespace torchd
