#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

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
constexpr int kOrientationTag = 0x0112;

// Whole numbers of a TIFF structure in its byte order; empty beyond its end.
class TiffReader {
 public:
  TiffReader(absl::string_view tiff, bool little_endian)
      : tiff_(tiff), little_endian_(little_endian) {}

  std::optional<uint32_t> Read(size_t offset, size_t size) const {
    if (offset > tiff_.size() || size > tiff_.size() - offset) return std::nullopt;
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      const size_t from = little_endian_ ? size - 1 - i : i;
      value = (value << 8) | static_cast<uint8_t>(tiff_[offset + from]);
    }
    return value;
  }

 private:
  absl::string_view tiff_;
  bool little_endian_;
};

// The value of a directory entry of one BYTE, SHORT or LONG.
std::optional<uint32_t> EntryValue(const TiffReader& reader, size_t entry) {
  constexpr uint32_t kByte = 1;
  constexpr uint32_t kShort = 3;
  constexpr uint32_t kLong = 4;
  const std::optional<uint32_t> type = reader.Read(entry + 2, 2);
  if (type == kByte) return reader.Read(entry + 8, 1);
  if (type == kShort) return reader.Read(entry + 8, 2);
  if (type == kLong) return reader.Read(entry + 8, 4);
  return std::nullopt;
}

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

Image Upright(StoredImage&& stored) {
  if (stored.orientation == 1) return std::move(stored.image);
  const Walk walk = WalkFor(stored.image, stored.orientation);
  Image upright;
  upright.width = walk.width;
  upright.height = walk.height;
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
  const int64_t pixels = claim.width * claim.height;
  if (pixels > limits.decoded_bytes_max / claim.bytes_per_pixel) {
    return absl::InvalidArgumentError(
        absl::StrCat(claim.format, " of ", claim.width, "x", claim.height, " pixels needs ",
                     claim.bytes_per_pixel, " bytes a pixel to decode; at most ",
                     limits.decoded_bytes_max, " bytes are given"));
  }
  return absl::OkStatus();
}

std::optional<int> ExifOrientation(absl::string_view tiff) {
  constexpr size_t kEntryBytes = 12;
  const absl::string_view prefix("Exif\0\0", 6);
  if (absl::StartsWith(tiff, prefix)) tiff.remove_prefix(prefix.size());
  const bool little_endian = absl::StartsWith(tiff, "II");
  if (!little_endian && !absl::StartsWith(tiff, "MM")) return std::nullopt;
  const TiffReader reader(tiff, little_endian);
  if (reader.Read(2, 2) != 42U) return std::nullopt;
  const std::optional<uint32_t> directory = reader.Read(4, 4);
  if (!directory) return std::nullopt;
  const std::optional<uint32_t> entries = reader.Read(*directory, 2);
  if (!entries) return std::nullopt;
  for (size_t i = 0; i < *entries; ++i) {
    const size_t entry = size_t{*directory} + 2 + i * kEntryBytes;
    const std::optional<uint32_t> tag = reader.Read(entry, 2);
    if (!tag) return std::nullopt;
    if (*tag != kOrientationTag) continue;
    const uint32_t value = EntryValue(reader, entry).value_or(0);
    if (value < 1 || value > 8) return std::nullopt;
    return static_cast<int>(value);
  }
  return std::nullopt;
}

absl::StatusOr<Image> DecodeImage(absl::string_view bytes, const ImageLimits& limits) {
  StoredImage stored;
  if (absl::StartsWith(bytes, kJpegMagic)) {
    TORCHD_ASSIGN_OR_RETURN(stored, DecodeJpeg(bytes, limits));
  } else if (absl::StartsWith(bytes, kPngMagic)) {
    TORCHD_ASSIGN_OR_RETURN(stored, DecodePng(bytes, limits));
  } else if (bytes.empty()) {
    return absl::InvalidArgumentError("item is empty; the bytes of a JPEG or PNG expected");
  } else {
    return absl::InvalidArgumentError(absl::StrCat("item is neither JPEG nor PNG (starts with 0x",
                                                   absl::BytesToHexString(bytes.substr(0, 8)),
                                                   ")"));
  }
  // Turning takes a second copy of the pixels.
  if (stored.orientation != 1) {
    const HeaderClaim claim = {.format = "rotated image",
                               .width = stored.image.width,
                               .height = stored.image.height,
                               .bytes_per_pixel = 6};
    TORCHD_RETURN_IF_ERROR(CheckHeader(claim, limits));
  }
  return Upright(std::move(stored));
}

}  // namespace torchd
