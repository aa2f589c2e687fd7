#include <spng.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/base/status_macros.h"
#include "server/preprocessing/image/decoders.h"

namespace torchd {
namespace {

constexpr size_t kSignatureBytes = 8;
constexpr size_t kFrameBytes = 12;  // Of a chunk: length, type and checksum.

uint32_t BigEndian(absl::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes.substr(0, 4)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

// What an image needs: critical chunks (a capital in front), transparency, orientation.
bool Wanted(absl::string_view type) {
  return (type[0] & 0x20) == 0 || type == "tRNS" || type == "eXIf";
}

// The file without its comments and colour profiles. The library would unfold each of them, and a
// thousandfold, although nobody reads them here.
std::string WantedChunks(absl::string_view bytes) {
  std::string wanted(bytes.substr(0, kSignatureBytes));
  wanted.reserve(bytes.size());
  bytes.remove_prefix(std::min(bytes.size(), kSignatureBytes));
  while (bytes.size() >= kFrameBytes) {
    const size_t whole = std::min<size_t>(bytes.size(), kFrameBytes + BigEndian(bytes));
    if (Wanted(bytes.substr(4, 4))) wanted.append(bytes.data(), whole);
    bytes.remove_prefix(whole);
  }
  return wanted;
}

struct FreeContext {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, FreeContext>;

absl::Status Damaged(int error) {
  return absl::InvalidArgumentError(absl::StrCat("PNG does not decode: ", spng_strerror(error)));
}

// Pillow's Image.alpha_composite() over opaque white, digit for digit.
uint8_t OverWhite(uint32_t value, uint32_t alpha) {
  const uint32_t own = alpha * 128;
  const uint32_t white = 255 * 128 - own;
  const uint32_t sum = value * own + 255 * white + (0x80 << 7);
  return static_cast<uint8_t>((((sum >> 8) + sum) >> 8) >> 7);
}

// In place: a pixel is never written before it has been read.
void FlattenOverWhite(size_t pixels, std::vector<uint8_t>& data) {
  const uint8_t* rgba = data.data();
  uint8_t* rgb = data.data();
  for (size_t i = 0; i < pixels; ++i, rgba += 4, rgb += 3) {
    const uint8_t alpha = rgba[3];
    for (int c = 0; c < 3; ++c) rgb[c] = OverWhite(rgba[c], alpha);
  }
  data.resize(pixels * 3);
}

int Orientation(spng_ctx* context) {
  spng_exif exif = {};
  if (spng_get_exif(context, &exif) != 0) return 1;
  return ExifOrientation(absl::string_view(exif.data, exif.length)).value_or(1);
}

bool HasAlpha(spng_ctx* context, const spng_ihdr& header) {
  spng_trns transparency = {};
  return header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA ||
         header.color_type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA ||
         spng_get_trns(context, &transparency) == 0;
}

}  // namespace

absl::StatusOr<StoredImage> DecodePng(absl::string_view bytes, const ImageLimits& limits) {
  const Context context(spng_ctx_new(0));
  if (context == nullptr) return absl::ResourceExhaustedError("no memory for a PNG decoder");
  spng_set_crc_action(context.get(), SPNG_CRC_ERROR, SPNG_CRC_DISCARD);
  const std::string wanted = WantedChunks(bytes);
  if (int error = spng_set_png_buffer(context.get(), wanted.data(), wanted.size()); error != 0) {
    return Damaged(error);
  }
  spng_ihdr header = {};
  if (int error = spng_get_ihdr(context.get(), &header); error != 0) return Damaged(error);
  HeaderClaim claim = {
      .format = "PNG", .width = header.width, .height = header.height, .bytes_per_pixel = 4};
  TORCHD_RETURN_IF_ERROR(CheckHeader(claim, limits));

  const bool alpha = HasAlpha(context.get(), header);
  const size_t pixels = static_cast<size_t>(header.width) * header.height;
  StoredImage stored;
  stored.image.width = static_cast<int>(header.width);
  stored.image.height = static_cast<int>(header.height);
  stored.image.rgb.resize(pixels * (alpha ? 4 : 3));
  // Sixteen bits lose their lower eight, in grey too (where Pillow saturates instead).
  const int error =
      spng_decode_image(context.get(), stored.image.rgb.data(), stored.image.rgb.size(),
                        alpha ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8, alpha ? SPNG_DECODE_TRNS : 0);
  if (error != 0) return Damaged(error);
  stored.orientation = Orientation(context.get());
  if (alpha) FlattenOverWhite(pixels, stored.image.rgb);
  return stored;
}

}  // namespace torchd
