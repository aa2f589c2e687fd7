// Bytes of a photo to the tensor a vision model takes, equal to what Pillow and torchvision's
// transforms make of it.
//
// Thread-safety: functions without state; call them from any thread.
#pragma once

#include <chrono>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/model_config.h"
#include "server/inference/pixels.h"
#include "server/inference/tensor.h"

namespace torchd {

// For one picture while it is prepared.
struct ImageLimits {
  int64_t pixels_max = 40'000'000;
  int64_t decoded_bytes_max = int64_t{64} * 1024 * 1024;  // Beside its file and the tensor.
  std::chrono::milliseconds time_max{2000};  // Of the thread's own work: others do not use it up.
};

// JPEG (grey, YCbCr, RGB, CMYK, YCCK), PNG (grey, palette, alpha over white, 16 bit) or still WebP
// (lossy, lossless, alpha over white), upright by its EXIF: resize (shorter side), centre crop,
// scale, normalise, layout and type as `config` says. `pixels`: made of `config`. The header is
// checked before memory is taken. INVALID_ARGUMENT says what is wrong with the bytes.
absl::StatusOr<Tensor> PrepareImage(absl::string_view bytes, const ImageLimits& limits,
                                    const ImageConfig& config, const Pixels& pixels);

}  // namespace torchd
