#include <time.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/base/status_macros.h"
#include "server/preprocessing/image/decoders.h"
#include "server/preprocessing/image/image.h"

namespace torchd {
namespace {

constexpr absl::string_view kJpegMagic("\xFF\xD8\xFF", 3);
constexpr absl::string_view kPngMagic("\x89PNG\r\n\x1A\n", 8);
constexpr absl::string_view kRiffMagic("RIFF", 4);
constexpr absl::string_view kWebpMagic("WEBP", 4);  // After RIFF and four bytes of length.

// Where the upright image finds its pixels in the stored one: pixel (x, y) lies at
// first + x * step_x + y * step_y, in bytes.
struct Walk {
  int width;
  int height;
  ptrdiff_t first;
  ptrdiff_t step_x;
  ptrdiff_t step_y;
};

Walk WalkFor(const Image& image, int orientation) {
  const ptrdiff_t pixel = 3;
  const ptrdiff_t row = pixel * image.width;
  const ptrdiff_t right = row - pixel;
  const ptrdiff_t bottom = row * (image.height - 1);
  const int w = image.width;
  const int h = image.height;
  switch (orientation) {
    case 2:
      return {w, h, right, -pixel, row};
    case 3:
      return {w, h, right + bottom, -pixel, -row};
    case 4:
      return {w, h, bottom, pixel, -row};
    case 5:
      return {h, w, 0, row, pixel};
    case 6:
      return {h, w, bottom, -row, pixel};
    case 7:
      return {h, w, right + bottom, -row, -pixel};
    case 8:
      return {h, w, right, row, -pixel};
    default:
      return {w, h, 0, pixel, row};
  }
}

// Pillow's Image.alpha_composite() over opaque white, digit for digit.
uint8_t OverWhite(uint32_t value, uint32_t alpha) {
  const uint32_t own = alpha * 128;
  const uint32_t white = 255 * 128 - own;
  const uint32_t sum = value * own + 255 * white + (0x80 << 7);
  return static_cast<uint8_t>((((sum >> 8) + sum) >> 8) >> 7);
}

Image Upright(StoredImage&& stored) {
  if (stored.orientation == 1) return std::move(stored.image);
  const Walk walk = WalkFor(stored.image, stored.orientation);
  Image upright;
  upright.width = walk.width;
  upright.height = walk.height;
  upright.shrink = stored.image.shrink;
  const bool turned = stored.orientation > 4;
  upright.full_width = turned ? stored.image.full_height : stored.image.full_width;
  upright.full_height = turned ? stored.image.full_width : stored.image.full_height;
  upright.rgb.resize(stored.image.rgb.size());
  const uint8_t* from = stored.image.rgb.data();
  uint8_t* to = upright.rgb.data();
  for (ptrdiff_t y = 0; y < walk.height; ++y) {
    ptrdiff_t at = walk.first + y * walk.step_y;
    for (int x = 0; x < walk.width; ++x, at += walk.step_x, to += 3) {
      std::memcpy(to, from + at, 3);
    }
  }
  return upright;
}

}  // namespace

absl::Status CheckHeader(const HeaderClaim& claim, const ImageLimits& limits) {
  if (claim.width < 1 || claim.height < 1) {
    return absl::InvalidArgumentError(absl::StrCat(claim.format, " of ", claim.width, "x",
                                                   claim.height, " pixels; at least 1x1 expected"));
  }
  if (claim.width > limits.pixels_max / claim.height) {
    return absl::InvalidArgumentError(absl::StrCat(claim.format, " of ", claim.width, "x",
                                                   claim.height, " pixels; at most ",
                                                   limits.pixels_max, " pixels are taken"));
  }
  if (claim.bytes > limits.decoded_bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat(
        claim.format, " of ", claim.width, "x", claim.height, " pixels needs ", claim.bytes,
        " bytes to decode; at most ", limits.decoded_bytes_max, " bytes are given"));
  }
  return absl::OkStatus();
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

void FlattenOverWhite(std::vector<uint8_t>& pixels) {
  const size_t count = pixels.size() / 4;
  const uint8_t* rgba = pixels.data();
  uint8_t* rgb = pixels.data();  // A pixel is never written before it has been read.
  for (size_t i = 0; i < count; ++i, rgba += 4, rgb += 3) {
    const uint8_t alpha = rgba[3];
    for (int c = 0; c < 3; ++c) rgb[c] = OverWhite(rgba[c], alpha);
  }
  pixels.resize(count * 3);
}

absl::StatusOr<Image> DecodeImage(absl::string_view bytes, const ImageLimits& limits,
                                  int shorter_side) {
  StoredImage stored;
  if (absl::StartsWith(bytes, kJpegMagic)) {
    TORCHD_ASSIGN_OR_RETURN(stored, DecodeJpeg(bytes, limits, shorter_side));
  } else if (absl::StartsWith(bytes, kPngMagic)) {
    TORCHD_ASSIGN_OR_RETURN(stored, DecodePng(bytes, limits));
  } else if (absl::StartsWith(bytes, kRiffMagic) && bytes.size() >= 12 &&
             bytes.substr(8, 4) == kWebpMagic) {
    TORCHD_ASSIGN_OR_RETURN(stored, DecodeWebp(bytes, limits));
  } else if (bytes.empty()) {
    return absl::InvalidArgumentError("item is empty; the bytes of a JPEG, PNG or WebP expected");
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("item is none of JPEG, PNG and WebP (starts with 0x",
                     absl::BytesToHexString(bytes.substr(0, 8)), ")"));
  }
  // Turning takes a second copy of the pixels.
  if (stored.orientation != 1) {
    const HeaderClaim claim = {.format = "rotated image",
                               .width = stored.image.width,
                               .height = stored.image.height,
                               .bytes = 2 * static_cast<int64_t>(stored.image.rgb.size())};
    TORCHD_RETURN_IF_ERROR(CheckHeader(claim, limits));
  }
  return Upright(std::move(stored));
}

}  // namespace torchd
