#include "server/inference/pixels.h"

#include <utility>

namespace torchd {

TensorSpec ImageInput(std::string name, const ImageConfig& config) {
  const int64_t side = config.crop;
  const bool planar = config.layout == ImageLayout::kChw;
  return {std::move(name), config.as_levels ? DataType::kUint8 : DataType::kFloat32,
          planar ? Shape{3, side, side} : Shape{side, side, 3}};
}

Pixels::Pixels(const ImageConfig& config)
    : side_(static_cast<size_t>(config.crop)), planar_(config.layout == ImageLayout::kChw) {
  for (size_t c = 0; c < values_.size(); ++c) {
    for (size_t level = 0; level < values_[c].size(); ++level) {
      const auto number = static_cast<float>(level);
      const float scaled = config.scale ? number * *config.scale : number / 255.0F;
      values_[c][level] = (scaled - config.mean[c]) / config.std[c];
    }
  }
}

bool Pixels::AreLevels(const TensorView& view) const {
  const auto side = static_cast<int64_t>(side_);
  return view.type == DataType::kUint8 && view.bytes == 3 * side_ * side_ &&
         (view.shape == Shape{3, side, side} || view.shape == Shape{side, side, 3});
}

void Pixels::Normalise(const TensorView& levels, float* to) const {
  const auto side = static_cast<int64_t>(side_);
  const Shape own = planar_ ? Shape{3, side, side} : Shape{side, side, 3};
  const bool from_planar = levels.shape == own ? planar_ : !planar_;
  const auto* from = static_cast<const uint8_t*>(levels.data);
  const size_t area = side_ * side_;
  const size_t from_channel = from_planar ? area : 1;
  const size_t from_pixel = from_planar ? 1 : 3;
  const size_t to_channel = planar_ ? area : 1;
  const size_t to_pixel = planar_ ? 1 : 3;
  for (size_t c = 0; c < 3; ++c) {
    const std::array<float, 256>& values = values_[c];
    for (size_t i = 0; i < area; ++i) {
      to[c * to_channel + i * to_pixel] = values[from[c * from_channel + i * from_pixel]];
    }
  }
}

}  // namespace torchd
