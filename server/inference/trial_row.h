// The input that stands for a real one when a model is tried and warmed up.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/inference/model.h"
#include "server/inference/tensor.h"

namespace torchd {

inline constexpr int64_t kTrialSide = 224;   // Stands for -1 in a picture: float32 [3,-1,-1].
inline constexpr int64_t kTrialLength = 16;  // Stands for -1 elsewhere.

// One row of ones: a value that every vocabulary and every mask knows. `length` stands for -1 where
// kTrialLength does.
std::vector<Tensor> TrialRow(const std::vector<TensorSpec>& inputs, int64_t length = kTrialLength);

// The same with no two numbers alike: what a row of ones hides shows. From -2 to 2; whole numbers
// are 0 or 1, which every vocabulary and every mask knows. The same for the same `seed`.
std::vector<Tensor> VariedRow(std::vector<Tensor> row, uint32_t seed = 12345);

// `row` as Model::Run() takes it; borrows from it.
RowInputs ViewsOf(const std::vector<Tensor>& row);

// What `model` makes of it.
absl::StatusOr<std::vector<Tensor>> RunTrialRow(Model& model);

}  // namespace torchd
