#include "server/registry/same_answer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace torchd {
namespace {

float FloatAt(const Tensor& tensor, size_t index) {
  float value = 0;
  std::memcpy(&value, tensor.bytes.data() + index * sizeof value, sizeof value);
  return value;
}

bool Same(float expected, float got) {
  if (std::isnan(expected) || std::isnan(got)) return std::isnan(expected) && std::isnan(got);
  if (std::isinf(expected) || std::isinf(got)) return expected == got;
  return std::abs(expected - got) <= kSameAnswerTolerance * std::max(1.0F, std::abs(expected));
}

absl::Status CheckOutput(size_t index, const Tensor& expected, const Tensor& got) {
  if (expected.type != got.type || expected.shape != got.shape) {
    return absl::FailedPreconditionError(absl::StrCat(
        "output ", index, " is ", Name(got.type), " ", ShapeText(got.shape),
        ", in the trial it was ", Name(expected.type), " ", ShapeText(expected.shape)));
  }
  if (expected.type != DataType::kFloat32) {
    if (expected.bytes == got.bytes) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("output ", index, " is not as in the trial"));
  }
  for (size_t i = 0; i < expected.bytes.size() / sizeof(float); ++i) {
    if (Same(FloatAt(expected, i), FloatAt(got, i))) continue;
    return absl::FailedPreconditionError(absl::StrCat("output ", index, " is ", FloatAt(got, i),
                                                      " at ", i, ", in the trial it was ",
                                                      FloatAt(expected, i)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckSameAnswer(const std::vector<Tensor>& expected, const std::vector<Tensor>& got) {
  if (expected.size() != got.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat(got.size(), " outputs, in the trial there were ", expected.size()));
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    absl::Status same = CheckOutput(i, expected[i], got[i]);
    if (!same.ok()) return same;
  }
  return absl::OkStatus();
}

}  // namespace torchd
