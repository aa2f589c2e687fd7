// Pillow's resampling (libImaging/Resample.c) in its own fixed-point numbers, for the pixels that
// the crop keeps and no others: a panorama costs what a snapshot costs.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/config/model_config.h"
#include "server/inference/pixels.h"
#include "server/inference/tensor.h"
#include "server/preprocessing/image/image.h"
#include "server/preprocessing/image/resample.h"

namespace torchd {
namespace {

constexpr int kSideMax = 16384;
constexpr int32_t kOne = int32_t{1} << kFractionBits;

// One axis of the image: what it measures before and after the resize, and the stretch of the
// result that the crop keeps.
struct Axis {
  int size = 0;
  int full_size = 0;  // Of the file's picture, of which `shrink` pixels are one here.
  int shrink = 1;
  int64_t resized = 0;
  int64_t first = 0;  // In the resized image.
  int count = 0;
  int padding = 0;  // Zeros in front, where the crop is larger than the resized image.

  double Scale() const {
    return static_cast<double>(full_size) / static_cast<double>(resized) / shrink;
  }
};

// Python's round(): halves go to the even neighbour.
int64_t HalfRoundedToEven(int64_t value) {
  const int64_t half = value / 2;
  return value % 2 == 0 ? half : half + (half % 2);
}

struct Extent {
  int size;
  int full_size;
  int shrink;
};

Axis MakeAxis(const Extent& extent, int64_t resized, int crop) {
  Axis axis = {.size = extent.size,
               .full_size = extent.full_size,
               .shrink = extent.shrink,
               .resized = resized};
  if (resized <= crop) {
    axis.count = static_cast<int>(resized);
    axis.padding = static_cast<int>((crop - resized) / 2);
  } else {
    axis.count = crop;
    axis.first = HalfRoundedToEven(resized - crop);
  }
  return axis;
}

// torchvision's int(n * long / short).
int64_t LongerSide(int64_t side, int64_t longer, int64_t shorter) {
  return static_cast<int64_t>(static_cast<double>(side * longer) / static_cast<double>(shorter));
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
    const int end = std::min(static_cast<int>(center + support + 0.5), axis.size);
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
    const int first = std::clamp(base - reach + 1, 0, axis.size - 1);
    weights.assign(2 * static_cast<size_t>(reach), 0.0);
    for (int x = base - reach + 1; x <= base + reach; ++x) {
      const double weight = bicubic ? BicubicWeight(x - center, -0.75) : BilinearWeight(x - center);
      weights[static_cast<size_t>(std::clamp(x, 0, axis.size - 1) - first)] += weight;
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
    AddTap(std::min(static_cast<int>(position), axis.size - 1), {1.0}, taps);
  }
  return taps;
}

Taps MakeTaps(const Axis& axis, const ImageConfig& config) {
  if (config.filter == ResizeFilter::kNearest) return NearestTaps(axis);
  const bool bicubic = config.filter == ResizeFilter::kBicubic;
  return config.antialias ? AntialiasTaps(axis, bicubic) : PlainTaps(axis, bicubic);
}

// The crop, row by row. Keeps as many horizontally resampled rows as one output row needs.
// `Level` holds a pixel between the two passes: Pillow clips it to eight bits, torch does not.
template <typename Level>
class CropRows {
 public:
  // `image` must outlive this.
  CropRows(const Image& image, Taps across, Taps down)
      : image_(image),
        across_(std::move(across)),
        down_(std::move(down)),
        samples_(3 * across_.pixels.size()),
        kept_(samples_ * static_cast<size_t>(down_.reach)),
        row_(samples_) {}

  // Call with 0, 1, 2, ... The result is good until the next call.
  const uint8_t* Row(size_t index);

 private:
  Level* Kept(int y) { return kept_.data() + samples_ * static_cast<size_t>(y % down_.reach); }

  const Image& image_;
  const Taps across_;
  const Taps down_;
  const size_t samples_;            // Of a row.
  std::vector<Level> kept_;         // Source row y at place y modulo the number of places.
  int next_ = 0;                    // First source row that has not been resampled.
  std::vector<const Level*> rows_;  // Of the tap at hand.
  std::vector<uint8_t> row_;
};

template <typename Level>
const uint8_t* CropRows<Level>::Row(size_t index) {
  const Tap& tap = down_.pixels[index];
  const int end = tap.first + tap.count;
  // A tap that lost zeros in front is followed by one that starts before it, hence `reach`.
  for (next_ = std::max(next_, end - down_.reach); next_ < end; ++next_) {
    const size_t offset = 3 * static_cast<size_t>(image_.width) * static_cast<size_t>(next_);
    const uint8_t* begin = image_.rgb.data();
    ResampleRow(begin + offset, begin + image_.rgb.size(), across_, Kept(next_));
  }
  rows_.clear();
  for (int i = 0; i < tap.count; ++i) rows_.push_back(Kept(tap.first + i));
  ResampleColumns(rows_, down_.weights.data() + tap.weights, samples_, row_.data());
  return row_.data();
}

absl::Status CheckArguments(const Image& image, const ImageConfig& config) {
  for (const auto& [name, value] : {std::pair{"resize", config.resize}, {"crop", config.crop}}) {
    if (value < 1 || value > kSideMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("image.", name, " is ", value, "; 1 to ", kSideMax, " expected"));
    }
  }
  if (image.width < 1 || image.height < 1 ||
      image.rgb.size() != 3 * static_cast<size_t>(image.width) * image.height) {
    return absl::InvalidArgumentError(absl::StrCat("image of ", image.width, "x", image.height,
                                                   " pixels holds ", image.rgb.size(),
                                                   " bytes; 3 for each pixel expected"));
  }
  return absl::OkStatus();
}

// Where a pixel goes in the tensor: at y * row + x * pixel + c * channel.
struct Steps {
  size_t row;
  size_t pixel;
  size_t channel;
};

Steps StepsOf(const ImageConfig& config) {
  const size_t side = static_cast<size_t>(config.crop);
  if (config.layout == ImageLayout::kHwc) return {3 * side, 3, 1};
  return {side, 1, side * side};
}

// `value(channel, level)` is what the tensor holds.
template <typename Level, typename Element, typename Value>
void Write(CropRows<Level> rows, const Axis& across, const Axis& down, const ImageConfig& config,
           const Value& value, Element* out) {
  const size_t side = static_cast<size_t>(config.crop);
  const Steps steps = StepsOf(config);
  if (across.count < config.crop || down.count < config.crop) {
    for (size_t i = 0; i < side * side; ++i) {
      for (size_t c = 0; c < 3; ++c) out[i * steps.pixel + c * steps.channel] = value(c, 0);
    }
  }
  const size_t width = static_cast<size_t>(across.count);
  for (size_t y = 0; y < static_cast<size_t>(down.count); ++y) {
    const uint8_t* row = rows.Row(y);
    Element* target = out + (y + static_cast<size_t>(down.padding)) * steps.row +
                      static_cast<size_t>(across.padding) * steps.pixel;
    for (size_t c = 0; c < 3; ++c, target += steps.channel) {
      for (size_t x = 0; x < width; ++x) target[x * steps.pixel] = value(c, row[3 * x + c]);
    }
  }
}

template <typename Level>
void Fill(CropRows<Level> rows, const Axis& across, const Axis& down, const ImageConfig& config,
          const Pixels& pixels, Tensor& tensor) {
  if (config.as_levels) {
    const auto level = [](size_t /*channel*/, uint8_t value) { return value; };
    Write(std::move(rows), across, down, config, level,
          reinterpret_cast<uint8_t*>(tensor.bytes.data()));
  } else {
    const auto number = [&](size_t channel, uint8_t value) { return pixels.Value(channel, value); };
    Write(std::move(rows), across, down, config, number,
          reinterpret_cast<float*>(tensor.bytes.data()));
  }
}

}  // namespace

absl::StatusOr<Tensor> PrepareImage(const Image& image, const ImageConfig& config,
                                    const Pixels& pixels) {
  TORCHD_RETURN_IF_ERROR(CheckArguments(image, config));
  const int width = image.full_width > 0 ? image.full_width : image.width;
  const int height = image.full_height > 0 ? image.full_height : image.height;
  const bool upright = width <= height;
  const int64_t longer =
      LongerSide(config.resize, std::max(width, height), std::min(width, height));
  const Axis across =
      MakeAxis({image.width, width, image.shrink}, upright ? config.resize : longer, config.crop);
  const Axis down =
      MakeAxis({image.height, height, image.shrink}, upright ? longer : config.resize, config.crop);
  const TensorSpec spec = ImageInput("", config);
  Tensor tensor;
  tensor.type = spec.type;
  tensor.shape = spec.shape;
  tensor.bytes.resize(BytesOf(spec.type, spec.shape).value_or(0));
  Taps taps_across = MakeTaps(across, config);
  Taps taps_down = MakeTaps(down, config);
  if (config.filter == ResizeFilter::kBicubic && !config.antialias) {
    CropRows<int16_t> rows(image, std::move(taps_across), std::move(taps_down));
    Fill(std::move(rows), across, down, config, pixels, tensor);
  } else {
    CropRows<uint8_t> rows(image, std::move(taps_across), std::move(taps_down));
    Fill(std::move(rows), across, down, config, pixels, tensor);
  }
  return tensor;
}

absl::StatusOr<Tensor> PrepareImage(const Image& image, const ImageConfig& config) {
  return PrepareImage(image, config, Pixels(config));
}

}  // namespace torchd
