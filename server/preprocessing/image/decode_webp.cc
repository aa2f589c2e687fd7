#include <webp/decode.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/base/status_macros.h"
#include "server/preprocessing/image/decoders.h"
#include "server/preprocessing/image/lossless_webp.h"

namespace torchd {
namespace {

constexpr int kLossless = 2;             // WebPBitstreamFeatures::format.
constexpr size_t kLosslessHead = 5;      // Of a chunk VP8L: magic, width and height.
constexpr int kAlphaLossless = 1;        // The lowest two bits of a chunk ALPH.
constexpr int64_t kRowsHeld = 24;        // That libwebp is at work on.
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

// Takes the next chunk off `rest`; its type is empty at the end.
struct Chunk {
  absl::string_view type;
  absl::string_view contents;
};
Chunk NextChunk(absl::string_view& rest) {
  if (rest.size() < kChunkHead) return {};
  const size_t size = LittleEndian(rest.substr(4, 4));
  const Chunk chunk = {rest.substr(0, 4), rest.substr(kChunkHead, size)};
  rest.remove_prefix(std::min(rest.size(), kChunkHead + size + size % 2));  // Padded to even.
  return chunk;
}

// The contents of a chunk; empty where there is none. `last`: of those in front of a lossy picture,
// which is the one that libwebp takes for its alpha; else the first.
absl::string_view Contents(absl::string_view bytes, absl::string_view type, bool last = false) {
  bytes.remove_prefix(std::min(bytes.size(), kChunksBegin));
  absl::string_view found;
  for (Chunk chunk = NextChunk(bytes); !chunk.type.empty(); chunk = NextChunk(bytes)) {
    if (last && chunk.type == "VP8 ") break;
    if (chunk.type != type) continue;
    found = chunk.contents;
    if (!last) break;
  }
  return found;
}

int Orientation(absl::string_view bytes) {
  const std::optional<int> exif = ExifOrientation(Contents(bytes, "EXIF"));
  return exif ? *exif : XmpOrientation(Contents(bytes, "XMP "));
}

// The most that libwebp holds, with the pixels that it gives: lossless pictures whole, four bytes a
// pixel; alpha whole, which is coded as a lossless picture of its own. Empty where the codes of
// those are damaged.
std::optional<int64_t> BytesNeeded(absl::string_view bytes, const WebPBitstreamFeatures& features) {
  const int64_t width = features.width;
  const int64_t pixels = width * features.height;
  const int64_t given = features.has_alpha != 0 ? 4 : 3;
  const int64_t rows = kRowsHeld * 4 * width;
  if (features.format == kLossless) {
    const absl::string_view stream = Contents(bytes, "VP8L");
    const std::optional<int64_t> tables = LosslessTableBytes(
        stream.substr(std::min(stream.size(), kLosslessHead)), width, features.height);
    if (!tables) return std::nullopt;
    return pixels * (given + 4) + rows + *tables;
  }
  const absl::string_view alpha = Contents(bytes, "ALPH", /*last=*/true);
  if (alpha.empty()) return pixels * given + rows;
  int64_t bytes_needed = pixels * (given + 1) + rows;
  if ((alpha[0] & 3) == kAlphaLossless) {
    const auto tables = LosslessTableBytes(alpha.substr(1), width, features.height);
    if (!tables) return std::nullopt;
    bytes_needed += pixels * 4 + *tables;
  }
  return bytes_needed;
}

}  // namespace

absl::Status DecodeWebp(absl::string_view bytes, const ImageLimits& limits, RowSink& sink) {
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
  TORCHD_RETURN_IF_ERROR(CheckSize("WebP", config.input.width, config.input.height, limits));
  PictureShape shape;
  shape.width = shape.full_width = config.input.width;
  shape.height = shape.full_height = config.input.height;
  shape.orientation = Orientation(bytes);
  const std::optional<int64_t> needed = BytesNeeded(bytes, config.input);
  if (!needed) return Damaged(VP8_STATUS_BITSTREAM_ERROR);
  TORCHD_RETURN_IF_ERROR(BeginRows("WebP", shape, *needed, limits, sink));
  const bool alpha = config.input.has_alpha != 0;
  const int stride = shape.width * (alpha ? 4 : 3);
  std::vector<uint8_t> pixels(static_cast<size_t>(stride) * static_cast<size_t>(shape.height));
  config.output.colorspace = alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = {pixels.data(), stride, pixels.size()};
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
  for (int y = 0; y < shape.height; ++y) {
    uint8_t* row = pixels.data() + static_cast<size_t>(stride) * static_cast<size_t>(y);
    if (alpha) FlattenOverWhite(row, static_cast<size_t>(shape.width), row);
    sink.Row(row);
  }
  return absl::OkStatus();
}

}  // namespace torchd
