// Any bytes as a picture: INVALID_ARGUMENT, or pixels as many as it says.
#include "server/preprocessing/image/image.h"

#include <cstdint>
#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Small, so that time goes into headers and not into pixels.
  const torchd::ImageLimits limits = {
      .pixels_max = 1 << 16, .decoded_bytes_max = 1 << 20, .time_max = std::chrono::seconds(2)};
  const absl::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto image = torchd::DecodeImage(bytes, limits, 2);
  if (!image.ok()) {
    if (image.status().code() != absl::StatusCode::kInvalidArgument) std::abort();
    return 0;
  }
  const size_t pixels = static_cast<size_t>(image->width) * static_cast<size_t>(image->height);
  if (pixels == 0 || image->rgb.size() != 3 * pixels) std::abort();
  torchd::ImageConfig config;
  config.resize = 9;
  config.crop = 7;
  const auto tensor = torchd::PrepareImage(*image, config);
  if (!tensor.ok() || tensor->bytes.size() != 3 * 7 * 7 * sizeof(float)) std::abort();
  return 0;
}
