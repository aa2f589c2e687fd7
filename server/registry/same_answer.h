// Does a model answer here as it did where it was tried?
//
// Thread-safety: a function without state.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "server/config/model_config.h"
#include "server/inference/tensor.h"

namespace torchd {

// As DifferenceOf() has it: threads and plans add in another order.
inline constexpr double kSameAnswerTolerance = 1e-3;

// More, where the model's owner allows its plans to differ; any number where the configuration
// names a plan of fewer bits and no limit.
double SameAnswerTolerance(const ModelConfig& config);

// FAILED_PRECONDITION saying which output differs, and by how much.
absl::Status CheckSameAnswer(const std::vector<Tensor>& expected, const std::vector<Tensor>& got,
                             double tolerance = kSameAnswerTolerance);

}  // namespace torchd
