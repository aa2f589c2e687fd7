#include <webp/decode.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/base/status_macros.h"
#include "server/preprocessing/image/decoders.h"

namespace torchd {
namespace {

constexpr int kLossless = 2;             // WebPBitstreamFeatures::format.
constexpr size_t kChunksBegin = 12;      // After "RIFF", the length and "WEBP".
constexpr size_t kChunkHead = 8;         // Type and length.
constexpr size_t kStepLeast = 64 << 10;  // Of the file, between two looks at the time.
constexpr size_t kSteps = 64;

struct FreeDecoder {
  void operator()(WebPIDecoder* decoder) const { WebPIDelete(decoder); }
};

absl::string_view StatusText(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return "no memory";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "a feature that is not supported";
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      return "the file ends too early";
    default:
      return "damaged data";
  }
}

absl::Status Damaged(VP8StatusCode status) {
  return absl::InvalidArgumentError(absl::StrCat("WebP does not decode: ", StatusText(status)));
}

uint32_t LittleEndian(absl::string_view bytes) {
  uint32_t value = 0;
  for (size_t i = 4; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// The contents of the first chunk of a type; empty where there is none.
absl::string_view Chunk(absl::string_view bytes, absl::string_view type) {
  bytes.remove_prefix(std::min(bytes.size(), kChunksBegin));
  while (bytes.size() >= kChunkHead) {
    const size_t size = LittleEndian(bytes.substr(4, 4));
    if (bytes.substr(0, 4) == type) return bytes.substr(kChunkHead, size);
    bytes.remove_prefix(std::min(bytes.size(), kChunkHead + size + size % 2));  // Padded to even.
  }
  return {};
}

int Orientation(absl::string_view bytes) {
  const std::optional<int> exif = ExifOrientation(Chunk(bytes, "EXIF"));
  return exif ? *exif : XmpOrientation(Chunk(bytes, "XMP "));
}

// What libwebp holds beside the pixels that it gives: lossless pictures whole, four bytes a pixel;
// alpha whole, which is coded as a lossless picture of its own.
int64_t BytesNeeded(const WebPBitstreamFeatures& features) {
  const int64_t pixels = int64_t{features.width} * features.height;
  const int64_t given = features.has_alpha != 0 ? 4 : 3;
  const int64_t beside = features.format == kLossless ? 4 : features.has_alpha != 0 ? 5 : 0;
  return pixels * (given + beside);
}

}  // namespace

absl::StatusOr<StoredImage> DecodeWebp(absl::string_view bytes, const ImageLimits& limits) {
  const WorkTime work_time(limits.time_max);
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0) {
    return absl::InternalError("libwebp is of another version than its headers");
  }
  // Where the end is cut off, so may be what says which side is up.
  if (LittleEndian(bytes.substr(4, 4)) > bytes.size() - kChunkHead) {
    return Damaged(VP8_STATUS_NOT_ENOUGH_DATA);
  }
  const VP8StatusCode read = WebPGetFeatures(data, bytes.size(), &config.input);
  if (read != VP8_STATUS_OK) return Damaged(read);
  if (config.input.has_animation != 0) {
    return absl::InvalidArgumentError("WebP is an animation; a still picture expected");
  }
  const HeaderClaim claim = {.format = "WebP",
                             .width = config.input.width,
                             .height = config.input.height,
                             .bytes = BytesNeeded(config.input)};
  TORCHD_RETURN_IF_ERROR(CheckHeader(claim, limits));
  const bool alpha = config.input.has_alpha != 0;
  StoredImage stored;
  stored.image.width = config.input.width;
  stored.image.height = config.input.height;
  const int stride = stored.image.width * (alpha ? 4 : 3);
  stored.image.rgb.resize(static_cast<size_t>(stride) * static_cast<size_t>(stored.image.height));
  config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {stored.image.rgb.data(), stride, stored.image.rgb.size()};
  const std::unique_ptr<WebPIDecoder, FreeDecoder> decoder(WebPIDecode(nullptr, 0, &config));
  if (decoder == nullptr) return absl::ResourceExhaustedError("no memory for a WebP decoder");
  const size_t step = std::max(kStepLeast, bytes.size() / kSteps);
  VP8StatusCode status = VP8_STATUS_SUSPENDED;
  for (size_t given = 0; given < bytes.size() && status == VP8_STATUS_SUSPENDED;) {
    if (work_time.IsUp()) return work_time.Exceeded("WebP");
    given = std::min(bytes.size(), given + step);
    status = WebPIUpdate(decoder.get(), data, given);
  }
  if (status != VP8_STATUS_OK) return Damaged(status);
  stored.orientation = Orientation(bytes);
  if (alpha) FlattenOverWhite(stored.image.rgb);
  return stored;
}

}  // namespace torchd
