#include "server/preprocessing/image/decoders.h"

#include <time.h>

#include <chrono>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/base/status_macros.h"
#include "server/preprocessing/image/image.h"

namespace torchd {
namespace {

// No JPEG is longer. Where rows are of a few pixels, it is their number that costs.
constexpr int64_t kSideMax = 65535;

// Pillow's Image.alpha_composite() over opaque white, digit for digit.
uint8_t OverWhite(uint32_t value, uint32_t alpha) {
  const uint32_t own = alpha * 128;
  const uint32_t white = 255 * 128 - own;
  const uint32_t sum = value * own + 255 * white + (0x80 << 7);
  return static_cast<uint8_t>((((sum >> 8) + sum) >> 8) >> 7);
}

}  // namespace

absl::Status CheckSize(absl::string_view format, int64_t width, int64_t height,
                       const ImageLimits& limits) {
  const auto refused = [&](const auto&... expected) {
    return absl::InvalidArgumentError(
        absl::StrCat(format, " of ", width, "x", height, " pixels; ", expected...));
  };
  if (width < 1 || height < 1) return refused("at least 1x1 expected");
  if (width > limits.pixels_max / height) {
    return refused("at most ", limits.pixels_max, " pixels are taken");
  }
  if (width > kSideMax || height > kSideMax) {
    return refused("at most ", kSideMax, " to a side are taken");
  }
  return absl::OkStatus();
}

absl::Status BeginRows(absl::string_view format, const PictureShape& shape, int64_t decoder_bytes,
                       const ImageLimits& limits, RowSink& sink) {
  TORCHD_ASSIGN_OR_RETURN(const int64_t sink_bytes, sink.Begin(shape));
  const int64_t bytes = decoder_bytes + sink_bytes;
  if (bytes <= limits.decoded_bytes_max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(format, " of ", shape.full_width, "x", shape.full_height, " pixels needs ",
                   bytes, " bytes to decode; at most ", limits.decoded_bytes_max,
                   " bytes are given (image_decoded_mb_max)"));
}

std::chrono::nanoseconds WorkTime::Now() {
  timespec now = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

absl::Status WorkTime::Exceeded(absl::string_view format) const {
  const auto most = std::chrono::duration_cast<std::chrono::milliseconds>(most_);
  return absl::InvalidArgumentError(
      absl::StrCat(format, " takes longer than ", most.count(), " ms to decode"));
}

void FlattenOverWhite(const uint8_t* rgba, size_t pixels, uint8_t* rgb) {
  for (size_t i = 0; i < pixels; ++i, rgba += 4, rgb += 3) {
    const uint8_t alpha = rgba[3];  // In place, no pixel is written before it has been read.
    for (int c = 0; c < 3; ++c) rgb[c] = OverWhite(rgba[c], alpha);
  }
}

}  // namespace torchd
