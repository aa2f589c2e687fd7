#include "server/preprocessing/image/crop.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/preprocessing/image/taps.h"

namespace torchd {
namespace {

constexpr int kSideMax = 16384;

absl::Status CheckConfig(const ImageConfig& config) {
  for (const auto& [name, value] : {std::pair{"resize", config.resize}, {"crop", config.crop}}) {
    if (value < 1 || value > kSideMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("image.", name, " is ", value, "; 1 to ", kSideMax, " expected"));
    }
  }
  return absl::OkStatus();
}

// torchvision's int(n * long / short).
int64_t LongerSide(int64_t side, int64_t longer, int64_t shorter) {
  return static_cast<int64_t>(static_cast<double>(side * longer) / static_cast<double>(shorter));
}

// The upright picture's axes.
std::pair<Axis, Axis> AxesOf(const PictureShape& shape, const ImageConfig& config) {
  Extent across = {shape.width, shape.full_width, shape.shrink};
  Extent down = {shape.height, shape.full_height, shape.shrink};
  if (shape.OnItsSide()) std::swap(across, down);
  const int shorter = std::min(across.full_size, down.full_size);
  const int64_t longer =
      LongerSide(config.resize, std::max(across.full_size, down.full_size), shorter);
  const bool tall = across.full_size <= down.full_size;
  return {MakeAxis(across, tall ? config.resize : longer, config.crop),
          MakeAxis(down, tall ? longer : config.resize, config.crop)};
}

}  // namespace

absl::StatusOr<int64_t> Crop::Begin(const PictureShape& shape) {
  if (const absl::Status status = CheckConfig(config_); !status.ok()) return status;
  const auto [across, down] = AxesOf(shape, config_);
  ResizePlan plan = {.columns = MakeTaps(across, config_),
                     .rows = MakeTaps(down, config_),
                     .width = shape.width,
                     .rows_first = shape.OnItsSide(),
                     .last_line_first = shape.RowsRunBack(),
                     .clip = config_.filter != ResizeFilter::kBicubic || config_.antialias};
  if (shape.OnItsSide()) std::swap(plan.columns, plan.rows);
  if (shape.ColumnsRunBack()) Mirror(shape.width, plan.columns);
  if (shape.RowsRunBack()) Mirror(shape.height, plan.rows);

  const size_t side = static_cast<size_t>(config_.crop);
  const bool planar = config_.layout != ImageLayout::kHwc;
  const size_t pixel_step = planar ? 1 : 3;
  const size_t row_step = side * pixel_step;
  channel_step_ = planar ? side * side : 1;
  line_step_ = shape.OnItsSide() ? pixel_step : row_step;
  pixel_step_ = shape.OnItsSide() ? row_step : pixel_step;
  first_ = static_cast<size_t>(down.padding) * row_step +
           static_cast<size_t>(across.padding) * pixel_step;
  line_pixels_ = plan.columns.pixels.size();
  padded_ = across.count < config_.crop || down.count < config_.crop;
  resizer_ = MakeResizer(std::move(plan));
  return resizer_->Bytes();
}

void Crop::Row(const uint8_t* rgb) {
  resizer_->Take(rgb);
  while (const uint8_t* line = resizer_->NextLine()) {
    if (tensor_.bytes.empty()) MakeTensor();
    if (config_.as_levels) {
      Write<uint8_t>(line, [](size_t /*channel*/, uint8_t level) { return level; });
    } else {
      Write<float>(line,
                   [this](size_t channel, uint8_t level) { return pixels_.Value(channel, level); });
    }
  }
}

void Crop::MakeTensor() {
  const TensorSpec spec = ImageInput("", config_);
  tensor_.type = spec.type;
  tensor_.shape = spec.shape;
  tensor_.bytes.resize(BytesOf(spec.type, spec.shape).value_or(0));
  if (!padded_ || config_.as_levels) return;  // Zeros are there already.
  auto* numbers = reinterpret_cast<float*>(tensor_.bytes.data());
  const size_t pixels = static_cast<size_t>(config_.crop) * static_cast<size_t>(config_.crop);
  const size_t pixel_step = channel_step_ == 1 ? 3 : 1;
  for (size_t c = 0; c < 3; ++c) {
    for (size_t i = 0; i < pixels; ++i) {
      numbers[i * pixel_step + c * channel_step_] = pixels_.Value(c, 0);
    }
  }
}

// `value(channel, level)` is what the tensor holds.
template <typename Element, typename Value>
void Crop::Write(const uint8_t* line, const Value& value) {
  auto* out =
      reinterpret_cast<Element*>(tensor_.bytes.data()) + first_ + resizer_->line() * line_step_;
  for (size_t c = 0; c < 3; ++c, out += channel_step_) {
    for (size_t i = 0; i < line_pixels_; ++i) out[i * pixel_step_] = value(c, line[3 * i + c]);
  }
}

}  // namespace torchd
