// The centre of a picture as a model takes it, made while the picture's rows arrive. Private to
// this folder and its tests.
//
// Thread-safety: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "server/config/model_config.h"
#include "server/inference/pixels.h"
#include "server/inference/tensor.h"
#include "server/preprocessing/image/decoders.h"
#include "server/preprocessing/image/resizer.h"

namespace torchd {

class Crop final : public RowSink {
 public:
  // `pixels`: made of `config`. Both must outlive this.
  Crop(const ImageConfig& config, const Pixels& pixels) : config_(config), pixels_(pixels) {}

  absl::StatusOr<int64_t> Begin(const PictureShape& shape) override;
  void Row(const uint8_t* rgb) override;

  // Resized (shorter side), upright, cut, scaled and normalised, in layout and type of the
  // configuration. Requires: every row has come.
  Tensor Take() { return std::move(tensor_); }

 private:
  void MakeTensor();
  template <typename Element, typename Value>
  void Write(const uint8_t* line, const Value& value);

  const ImageConfig& config_;
  const Pixels& pixels_;
  Tensor tensor_;
  std::unique_ptr<Resizer> resizer_;
  size_t line_pixels_ = 0;
  bool padded_ = false;
  size_t first_ = 0;       // Of the first line in the tensor, behind the padding.
  size_t line_step_ = 0;   // From line to line in the tensor,
  size_t pixel_step_ = 0;  // and from pixel to pixel of a line.
  size_t channel_step_ = 0;
};

}  // namespace torchd
