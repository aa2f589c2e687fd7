// From a row of scores to the classes a client asked for.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "server/config/model_config.h"

namespace torchd {

struct ScoredClass {
  int32_t index = 0;
  float score = 0;  // After the activation.
};

struct TopKOptions {
  int k = 1;
  Activation activation = Activation::kNone;
  std::optional<float> threshold = {};  // Of the score after the activation.
};

// Whether every score is a number: not NaN, not infinite.
bool AllFinite(absl::Span<const float> scores);

// The `k` highest that reach the threshold, highest first, equal ones in the order of their index.
// Softmax goes over all classes, left out or not. Those that are NaN or infinite count as not
// there. Requires: 1 <= k <= scores.size().
std::vector<ScoredClass> TopK(absl::Span<const float> scores, const TopKOptions& options);

}  // namespace torchd
