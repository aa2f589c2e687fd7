// Pillow's filters (libImaging/Resample.c) in its own fixed-point numbers, and torch's.
#include "server/preprocessing/image/taps.h"

#include <algorithm>
#include <cmath>

namespace torchd {
namespace {

constexpr int32_t kOne = int32_t{1} << kFractionBits;

// Python's round(): halves go to the even neighbour.
int64_t HalfRoundedToEven(int64_t value) {
  const int64_t half = value / 2;
  return value % 2 == 0 ? half : half + (half % 2);
}

double BilinearWeight(double x) {
  x = std::abs(x);
  return x < 1 ? 1 - x : 0;
}

// `a` is -0.5 in Pillow, -0.75 in torch.
double BicubicWeight(double x, double a) {
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

// Weights that are zero after rounding change no sum, so they are left away at both ends.
void AddTap(int first, const std::vector<double>& weights, Taps& taps) {
  double sum = 0;
  for (double weight : weights) sum += weight;
  Tap tap = {.first = first, .count = 0, .weights = taps.weights.size()};
  for (double weight : weights) {
    const double share = sum != 0 ? weight / sum : weight;
    const auto fixed = static_cast<int32_t>((share < 0 ? -0.5 : 0.5) + share * kOne);
    if (tap.count == 0 && fixed == 0) {
      ++tap.first;
      continue;
    }
    taps.weights.push_back(fixed);
    ++tap.count;
  }
  while (tap.count > 0 && taps.weights.back() == 0) {
    taps.weights.pop_back();
    --tap.count;
  }
  taps.reach = std::max(taps.reach, static_cast<int>(weights.size()));
  taps.pixels.push_back(tap);
}

// precompute_coeffs() of Pillow: the filter widens when the image shrinks.
Taps AntialiasTaps(const Axis& axis, bool bicubic) {
  const double scale = axis.Scale();
  const double filter_scale = std::max(scale, 1.0);
  const double inverse = 1.0 / filter_scale;
  const double support = (bicubic ? 2.0 : 1.0) * filter_scale;
  Taps taps;
  std::vector<double> weights;
  for (int i = 0; i < axis.count; ++i) {
    const double center = (static_cast<double>(axis.first + i) + 0.5) * scale;
    // Pillow's rounding: towards zero after adding a half.
    // NOLINTBEGIN(bugprone-incorrect-roundings)
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int end = std::min(static_cast<int>(center + support + 0.5), axis.extent.size);
    // NOLINTEND(bugprone-incorrect-roundings)
    weights.clear();
    for (int x = first; x < end; ++x) {
      const double distance = (x - center + 0.5) * inverse;
      weights.push_back(bicubic ? BicubicWeight(distance, -0.5) : BilinearWeight(distance));
    }
    AddTap(first, weights, taps);
  }
  return taps;
}

// interpolate(align_corners=False) of torch: two or four neighbours, the border repeated.
Taps PlainTaps(const Axis& axis, bool bicubic) {
  Taps taps;
  std::vector<double> weights;
  const int reach = bicubic ? 2 : 1;
  for (int i = 0; i < axis.count; ++i) {
    double center = (static_cast<double>(axis.first + i) + 0.5) * axis.Scale() - 0.5;
    if (!bicubic) center = std::max(center, 0.0);
    const int base = static_cast<int>(std::floor(center));
    const int first = std::clamp(base - reach + 1, 0, axis.extent.size - 1);
    weights.assign(2 * static_cast<size_t>(reach), 0.0);
    for (int x = base - reach + 1; x <= base + reach; ++x) {
      const double weight = bicubic ? BicubicWeight(x - center, -0.75) : BilinearWeight(x - center);
      weights[static_cast<size_t>(std::clamp(x, 0, axis.extent.size - 1) - first)] += weight;
    }
    AddTap(first, weights, taps);
  }
  return taps;
}

// Pillow adds the scale up from pixel to pixel, and rounding errors with it; they decide on ties.
// Sizes that Pillow cannot hold anyway are computed directly.
Taps NearestTaps(const Axis& axis) {
  constexpr int64_t kAddedMax = int64_t{1} << 20;
  const double scale = axis.Scale();
  const bool add = axis.first + axis.count <= kAddedMax;
  double position = scale * 0.5;
  for (int64_t i = 0; add && i < axis.first; ++i) position += scale;
  Taps taps;
  for (int i = 0; i < axis.count; ++i, position += scale) {
    if (!add) position = (static_cast<double>(axis.first + i) + 0.5) * scale;
    AddTap(std::min(static_cast<int>(position), axis.extent.size - 1), {1.0}, taps);
  }
  return taps;
}

}  // namespace

Axis MakeAxis(const Extent& extent, int64_t resized, int crop) {
  Axis axis = {.extent = extent, .resized = resized};
  if (resized <= crop) {
    axis.count = static_cast<int>(resized);
    axis.padding = static_cast<int>((crop - resized) / 2);
  } else {
    axis.count = crop;
    axis.first = HalfRoundedToEven(resized - crop);
  }
  return axis;
}

Taps MakeTaps(const Axis& axis, const ImageConfig& config) {
  if (config.filter == ResizeFilter::kNearest) return NearestTaps(axis);
  const bool bicubic = config.filter == ResizeFilter::kBicubic;
  return config.antialias ? AntialiasTaps(axis, bicubic) : PlainTaps(axis, bicubic);
}

void Mirror(int size, Taps& taps) {
  for (Tap& tap : taps.pixels) {
    tap.first = size - tap.first - tap.count;
    const auto begin = taps.weights.begin() + static_cast<ptrdiff_t>(tap.weights);
    std::reverse(begin, begin + tap.count);
  }
}

}  // namespace torchd
