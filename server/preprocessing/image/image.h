// Bytes of a photo to the float32 tensor [3, crop, crop] a vision model takes, equal to what
// Pillow and torchvision's transforms make of it.
//
// Thread-safety: functions without state; call them from any thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/model_config.h"
#include "server/inference/tensor.h"

namespace torchd {

// 8-bit RGB, row by row, no padding, upright (EXIF orientation applied).
struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;  // width * height * 3
};

struct ImageLimits {
  int64_t pixels_max = 40'000'000;
  int64_t decoded_bytes_max = int64_t{256} * 1024 * 1024;  // Of one picture, while it is decoded.
};

// JPEG (grey, YCbCr, CMYK, YCCK) or PNG (grey, palette, alpha over white, 16 bit). The header is
// checked before memory is taken. INVALID_ARGUMENT says what is wrong with the bytes.
absl::StatusOr<Image> DecodeImage(absl::string_view bytes, const ImageLimits& limits);

// Resize (shorter side), centre crop, scale to 0..1, normalise, CHW.
absl::StatusOr<Tensor> PrepareImage(const Image& image, const ImageConfig& config);

}  // namespace torchd
