// Does a model answer here as it did where it was tried?
//
// Thread-safety: a function without state.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "server/inference/tensor.h"

namespace torchd {

// Of a number's size, or absolutely for those below 1: threads and plans add in another order.
inline constexpr float kSameAnswerTolerance = 1e-3F;

// FAILED_PRECONDITION saying which output differs, and by how much.
absl::Status CheckSameAnswer(const std::vector<Tensor>& expected, const std::vector<Tensor>& got);

}  // namespace torchd
