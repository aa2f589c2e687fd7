#include "server/inference/answer_difference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace torchd {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

size_t FloatsIn(const Tensor& tensor) { return tensor.bytes.size() / sizeof(float); }

float FloatAt(const Tensor& tensor, size_t index) {
  float value = 0;
  std::memcpy(&value, tensor.bytes.data() + index * sizeof value, sizeof value);
  return value;
}

}  // namespace

double ScaleOf(const Tensor& expected) {
  double largest = 0;
  for (size_t i = 0; i < FloatsIn(expected); ++i) {
    const double size = std::abs(double{FloatAt(expected, i)});
    if (std::isfinite(size)) largest = std::max(largest, size);
  }
  return std::min(largest, 1.0);
}

double DifferenceOf(float expected, float got, double scale) {
  if (expected == got || (std::isnan(expected) && std::isnan(got))) return 0;
  if (!std::isfinite(expected) || !std::isfinite(got)) return kInfinite;
  return std::abs(double{got} - expected) / std::max(scale, std::abs(double{expected}));
}

double DifferenceOf(const Tensor& expected, const Tensor& got) {
  if (expected.type != got.type || expected.shape != got.shape) return kInfinite;
  if (expected.type != DataType::kFloat32) return expected.bytes == got.bytes ? 0 : kInfinite;
  const double scale = ScaleOf(expected);
  double most = 0;
  for (size_t i = 0; i < FloatsIn(expected); ++i) {
    most = std::max(most, DifferenceOf(FloatAt(expected, i), FloatAt(got, i), scale));
  }
  return most;
}

}  // namespace torchd
