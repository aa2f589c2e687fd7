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

// Row by row, so that the time can be looked at. The rows of an interlaced picture come several
// times.
int ReadRows(spng_ctx* context, int format, size_t row_bytes, const WorkTime& work_time,
             std::vector<uint8_t>& pixels, bool& too_slow) {
  const int flags = SPNG_DECODE_PROGRESSIVE | (format == SPNG_FMT_RGBA8 ? SPNG_DECODE_TRNS : 0);
  int error = spng_decode_image(context, nullptr, 0, format, flags);
  for (int row = 1; error == 0; ++row) {
    spng_row_info info = {};
    error = spng_get_row_info(context, &info);
    if (error != 0) break;
    error = spng_decode_row(context, pixels.data() + info.row_num * row_bytes, row_bytes);
    too_slow = row % kRowsBetweenLooks == 0 && work_time.IsUp();
    if (too_slow) return 0;
  }
  return error == SPNG_EOI ? 0 : error;
}

}  // namespace

absl::StatusOr<StoredImage> DecodePng(absl::string_view bytes, const ImageLimits& limits) {
  const WorkTime work_time(limits.time_max);
  const Context context(spng_ctx_new(0));
  if (context == nullptr) return absl::ResourceExhaustedError("no memory for a PNG decoder");
  spng_set_crc_action(context.get(), SPNG_CRC_ERROR, SPNG_CRC_DISCARD);
  const std::string wanted = WantedChunks(bytes);
  if (int error = spng_set_png_buffer(context.get(), wanted.data(), wanted.size()); error != 0) {
    return Damaged(error);
  }
  spng_ihdr header = {};
  if (int error = spng_get_ihdr(context.get(), &header); error != 0) return Damaged(error);
  HeaderClaim claim = {.format = "PNG", .width = header.width, .height = header.height, .bytes = 0};
  TORCHD_RETURN_IF_ERROR(CheckHeader(claim, limits));
  const bool alpha = HasAlpha(context.get(), header);
  const size_t row_bytes = size_t{header.width} * (alpha ? 4 : 3);
  claim.bytes = static_cast<int64_t>(row_bytes * header.height);
  TORCHD_RETURN_IF_ERROR(CheckHeader(claim, limits));

  StoredImage stored;
  stored.image.width = static_cast<int>(header.width);
  stored.image.height = static_cast<int>(header.height);
  stored.image.rgb.resize(row_bytes * header.height);
  // Sixteen bits lose their lower eight, in grey too (where Pillow saturates instead).
  bool too_slow = false;
  const int error = ReadRows(context.get(), alpha ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8, row_bytes,
                             work_time, stored.image.rgb, too_slow);
  if (too_slow) return work_time.Exceeded("PNG");
  if (error != 0) return Damaged(error);
  stored.orientation = Orientation(context.get());
  if (alpha) FlattenOverWhite(stored.image.rgb);
  return stored;
}

}  // namespace torchd
