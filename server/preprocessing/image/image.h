// Bytes of a photo to the tensor a vision model takes, equal to what Pillow and torchvision's
// transforms make of it.
//
// Thread-safety: functions without state; call them from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/model_config.h"
#include "server/inference/pixels.h"
#include "server/inference/tensor.h"

namespace torchd {

// 8-bit RGB, row by row, no padding, upright (EXIF orientation applied).
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // width * height * 3
  // One pixel stands for so many of the file's, across and down: 1, 2, 4 or 8. Those at the right
  // and at the bottom may stand for fewer.
  int shrink = 1;
  int full_width = 0;  // As the file has it; 0: as here.
  int full_height = 0;
};

// For one picture while it is decoded.
struct ImageLimits {
  int64_t pixels_max = 40'000'000;
  int64_t decoded_bytes_max = int64_t{64} * 1024 * 1024;
  std::chrono::milliseconds time_max{2000};  // Of the thread's own work: others do not use it up.
};

// JPEG (grey, YCbCr, CMYK, YCCK), PNG (grey, palette, alpha over white, 16 bit) or still WebP
// (lossy, lossless, alpha over white). The header is checked before memory is taken.
// INVALID_ARGUMENT says what is wrong with the bytes. `shorter_side`: what the shorter side will be
// resized to, smoothly; then a JPEG that is very much larger is decoded at a fraction of its size.
// 0: at its own.
absl::StatusOr<Image> DecodeImage(absl::string_view bytes, const ImageLimits& limits,
                                  int shorter_side = 0);

// Resize (shorter side), centre crop, scale, normalise, layout and type as `config` says.
// `pixels`: made of `config`; without it they are made anew for each picture.
absl::StatusOr<Tensor> PrepareImage(const Image& image, const ImageConfig& config,
                                    const Pixels& pixels);
absl::StatusOr<Tensor> PrepareImage(const Image& image, const ImageConfig& config);

}  // namespace torchd
