#include <spng.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
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
constexpr size_t kPixelsBegin = kSignatureBytes + kFrameBytes + 13;  // Behind the header, at best.
constexpr int64_t kPixelBytesMax = 8;

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
// thousandfold, although nobody reads them here. Where it has come to the pixels, which side is up
// must be known, so that stands in front.
std::string WantedChunks(absl::string_view bytes) {
  std::string wanted(bytes.substr(0, kSignatureBytes));
  std::string orientation;
  wanted.reserve(bytes.size());
  bytes.remove_prefix(std::min(bytes.size(), kSignatureBytes));
  while (bytes.size() >= kFrameBytes) {
    const size_t whole = std::min<size_t>(bytes.size(), kFrameBytes + BigEndian(bytes));
    const absl::string_view type = bytes.substr(4, 4);
    std::string& part = type == "eXIf" && wanted.size() >= kPixelsBegin ? orientation : wanted;
    if (Wanted(type)) part.append(bytes.data(), whole);
    if (type == "IEND") break;
    bytes.remove_prefix(whole);
  }
  if (!orientation.empty()) wanted.insert(kPixelsBegin, orientation);
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

// What reads one picture, whichever way its rows come.
class PngReader {
 public:
  PngReader(spng_ctx* context, const spng_ihdr& header, bool alpha)
      : context_(context),
        alpha_(alpha),
        interlaced_(header.interlace_method != 0),
        width_(header.width),
        height_(header.height),
        row_bytes_(size_t{header.width} * (alpha ? 4 : 3)) {}

  // The library keeps a row as the file has it and the one before.
  int64_t BytesNeeded() const {
    return static_cast<int64_t>(PixelBytes()) + 2 * kPixelBytesMax * int64_t{width_};
  }

  // Sixteen bits lose their lower eight, in grey too (where Pillow saturates instead).
  // Returns the library's error, or 0.
  int ReadRows(const WorkTime& work_time, RowSink& sink);
  bool too_slow() const { return too_slow_; }

 private:
  // The rows of an interlaced picture come several times.
  size_t PixelBytes() const { return row_bytes_ * (interlaced_ ? height_ : 1); }
  void Give(uint8_t* row, RowSink& sink) const {
    if (alpha_) FlattenOverWhite(row, width_, row);
    sink.Row(row);
  }

  spng_ctx* const context_;
  const bool alpha_;
  const bool interlaced_;
  const uint32_t width_;
  const uint32_t height_;
  const size_t row_bytes_;
  bool too_slow_ = false;
};

int PngReader::ReadRows(const WorkTime& work_time, RowSink& sink) {
  std::vector<uint8_t> pixels(PixelBytes());
  const int format = alpha_ ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8;
  const int flags = SPNG_DECODE_PROGRESSIVE | (alpha_ ? SPNG_DECODE_TRNS : 0);
  int error = spng_decode_image(context_, nullptr, 0, format, flags);
  for (int row = 1; error == 0; ++row) {
    spng_row_info info = {};
    error = spng_get_row_info(context_, &info);
    if (error != 0) return error;
    uint8_t* to = pixels.data() + (interlaced_ ? info.row_num * row_bytes_ : 0);
    error = spng_decode_row(context_, to, row_bytes_);
    if (error != 0 && error != SPNG_EOI) return error;
    if (!interlaced_) Give(to, sink);
    too_slow_ = row % kRowsBetweenLooks == 0 && work_time.IsUp();
    if (too_slow_) return 0;
  }
  if (error != SPNG_EOI) return error;
  for (size_t row = 0; interlaced_ && row < height_; ++row) {
    Give(pixels.data() + row * row_bytes_, sink);
  }
  return 0;
}

}  // namespace

absl::Status DecodePng(absl::string_view bytes, const ImageLimits& limits, RowSink& sink) {
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
  TORCHD_RETURN_IF_ERROR(CheckSize("PNG", header.width, header.height, limits));
  PngReader reader(context.get(), header, HasAlpha(context.get(), header));
  PictureShape shape;
  shape.width = shape.full_width = static_cast<int>(header.width);
  shape.height = shape.full_height = static_cast<int>(header.height);
  shape.orientation = Orientation(context.get());
  TORCHD_RETURN_IF_ERROR(BeginRows("PNG", shape, reader.BytesNeeded(), limits, sink));
  const int error = reader.ReadRows(work_time, sink);
  if (reader.too_slow()) return work_time.Exceeded("PNG");
  return error == 0 ? absl::OkStatus() : Damaged(error);
}

}  // namespace torchd
