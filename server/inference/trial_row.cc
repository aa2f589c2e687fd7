#include "server/inference/trial_row.h"

#include <cstring>
#include <utility>

#include "absl/types/span.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

Shape TrialShape(const TensorSpec& input, int64_t length) {
  const bool picture = input.type == DataType::kFloat32 && input.shape.size() == 3;
  Shape shape = input.shape;
  for (int64_t& size : shape) {
    if (size < 0) size = picture ? kTrialSide : length;
  }
  return shape;
}

}  // namespace

std::vector<Tensor> TrialRow(const std::vector<TensorSpec>& inputs, int64_t length) {
  std::vector<Tensor> row;
  for (const TensorSpec& input : inputs) {
    Tensor tensor;
    tensor.type = input.type;
    tensor.shape = TrialShape(input, length);
    tensor.bytes.assign(BytesOf(input.type, tensor.shape).value_or(0), 0);
    const size_t size = SizeOf(input.type);
    const float one = 1;
    for (size_t at = 0; at < tensor.bytes.size(); at += size) {
      if (input.type == DataType::kFloat32) {
        std::memcpy(tensor.bytes.data() + at, &one, sizeof one);
      } else {
        tensor.bytes[at] = 1;  // Little-endian.
      }
    }
    row.push_back(std::move(tensor));
  }
  return row;
}

std::vector<Tensor> VariedRow(std::vector<Tensor> row, uint32_t seed) {
  uint32_t state = seed;
  const auto next = [&state] { return (state = state * 1664525 + 1013904223) >> 8; };
  for (Tensor& tensor : row) {
    const size_t size = SizeOf(tensor.type);
    for (size_t at = 0; at < tensor.bytes.size(); at += size) {
      if (tensor.type == DataType::kFloat32) {
        const float value = static_cast<float>(next()) / (1 << 22) - 2;
        std::memcpy(tensor.bytes.data() + at, &value, sizeof value);
      } else {
        // Little-endian, and the other bytes are 0.
        tensor.bytes[at] = static_cast<char>(next() & 1);
      }
    }
  }
  return row;
}

RowInputs ViewsOf(const std::vector<Tensor>& row) {
  RowInputs views;
  views.reserve(row.size());
  for (const Tensor& tensor : row) views.push_back(tensor.View());
  return views;
}

absl::StatusOr<std::vector<Tensor>> RunTrialRow(Model& model) {
  const std::vector<Tensor> ones = TrialRow(model.signature().inputs);
  const RowInputs row = ViewsOf(ones);
  const RowInputs* const rows = &row;
  std::vector<Tensor> outputs;
  TORCHD_RETURN_IF_ERROR(model.Run(absl::MakeConstSpan(&rows, 1), outputs));
  return outputs;
}

}  // namespace torchd
