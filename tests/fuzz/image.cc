// Any bytes as a picture: INVALID_ARGUMENT, or a tensor as large as the model takes.
#include "server/preprocessing/image/image.h"

#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Small, so that time goes into headers and not into pixels.
  const torchd::ImageLimits limits = {
      .pixels_max = 1 << 16, .decoded_bytes_max = 1 << 20, .time_max = std::chrono::seconds(2)};
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  // With `antialias` a large JPEG is decoded smaller; without, levels are not clipped in between.
  for (const bool antialias : {true, false}) {
    torchd::ImageConfig config;
    config.resize = 3;
    config.crop = 5;
    config.filter = antialias ? torchd::ResizeFilter::kBilinear : torchd::ResizeFilter::kBicubic;
    config.antialias = antialias;
    const auto tensor = torchd::PrepareImage(bytes, limits, config, torchd::Pixels(config));
    if (!tensor.ok() && tensor.status().code() != absl::StatusCode::kInvalidArgument) std::abort();
    if (tensor.ok() && tensor->bytes.size() != 3 * 5 * 5 * sizeof(float)) std::abort();
  }
  return 0;
}
