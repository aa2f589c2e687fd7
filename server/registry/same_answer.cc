#include "server/registry/same_answer.h"

#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/inference/answer_difference.h"

namespace torchd {
namespace {

float FloatAt(const Tensor& tensor, size_t index) {
  float value = 0;
  std::memcpy(&value, tensor.bytes.data() + index * sizeof value, sizeof value);
  return value;
}

absl::Status CheckOutput(size_t index, const Tensor& expected, const Tensor& got,
                         double tolerance) {
  if (expected.type != got.type || expected.shape != got.shape) {
    return absl::FailedPreconditionError(absl::StrCat(
        "output ", index, " is ", Name(got.type), " ", ShapeText(got.shape),
        ", in the trial it was ", Name(expected.type), " ", ShapeText(expected.shape)));
  }
  if (expected.type != DataType::kFloat32) {
    if (expected.bytes == got.bytes) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("output ", index, " is not as in the trial"));
  }
  const double scale = ScaleOf(expected);
  for (size_t i = 0; i < expected.bytes.size() / sizeof(float); ++i) {
    const double difference = DifferenceOf(FloatAt(expected, i), FloatAt(got, i), scale);
    if (difference <= tolerance) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("output ", index, " is ", FloatAt(got, i), " at ", i, ", in the trial it was ",
                     FloatAt(expected, i), "; a difference of ", difference, ", at most ",
                     tolerance, " is expected"));
  }
  return absl::OkStatus();
}

}  // namespace

double SameAnswerTolerance(const ModelConfig& config) {
  const bool any = config.plan && HasFewerBits(*config.plan) && config.plan_difference_max == 0;
  if (any) return std::numeric_limits<double>::max();
  return kSameAnswerTolerance + config.plan_difference_max;
}

absl::Status CheckSameAnswer(const std::vector<Tensor>& expected, const std::vector<Tensor>& got,
                             double tolerance) {
  if (expected.size() != got.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat(got.size(), " outputs, in the trial there were ", expected.size()));
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    absl::Status same = CheckOutput(i, expected[i], got[i], tolerance);
    if (!same.ok()) return same;
  }
  return absl::OkStatus();
}

}  // namespace torchd
