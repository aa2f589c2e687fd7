// Where a file says how a viewer must turn its pixels: EXIF, and XMP in its place.
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "server/preprocessing/image/decoders.h"

namespace torchd {
namespace {

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

}  // namespace

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

int XmpOrientation(absl::string_view xmp) {
  constexpr absl::string_view kKey = "tiff:Orientation";
  for (size_t at = xmp.find(kKey); at != absl::string_view::npos; at = xmp.find(kKey, at + 1)) {
    absl::string_view rest = xmp.substr(at + kKey.size());
    if (absl::StartsWith(rest, "=\"")) {
      rest.remove_prefix(2);
    } else if (absl::StartsWith(rest, ">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (!rest.empty() && rest[0] >= '1' && rest[0] <= '8') return rest[0] - '0';
  }
  return 1;
}

}  // namespace torchd
