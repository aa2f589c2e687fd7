#include <spng.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
    // The library would take the memory that it claims before it finds it cut short.
    const bool bomb = type == "eXIf" && bytes.size() < kFrameBytes + BigEndian(bytes);
    if (Wanted(type) && !bomb) part.append(bytes.data(), whole);
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

// The colour of each number that a pixel of grey or of a palette may be, over white. The library
// asks for each pixel anew how many bits it has, which takes ten times as long.
using Colours = std::array<uint8_t, 3 * 256>;

// Returns the library's error, or 0.
int ReadColours(spng_ctx* context, const spng_ihdr& header, Colours& colours) {
  std::array<uint8_t, 4 * 256> rgba = {};
  spng_trns transparency = {};
  const bool transparent = spng_get_trns(context, &transparency) == 0;
  const bool grey = header.color_type == SPNG_COLOR_TYPE_GRAYSCALE;
  spng_plte palette = {};
  if (!grey) {
    if (const int error = spng_get_plte(context, &palette); error != 0) return error;
  }
  const uint32_t white = (1U << header.bit_depth) - 1;
  for (uint32_t i = 0; i <= white; ++i) {
    uint8_t* to = rgba.data() + size_t{4} * i;
    to[3] = 255;
    if (grey) {
      std::fill(to, to + 3, static_cast<uint8_t>(i * 255 / white));
      if (transparent && i == (transparency.gray & white)) to[3] = 0;
    } else if (i < palette.n_entries) {
      const spng_plte_entry& entry = palette.entries[i];
      to[0] = entry.red;
      to[1] = entry.green;
      to[2] = entry.blue;
      if (transparent && i < transparency.n_type3_entries) to[3] = transparency.type3_alpha[i];
    }
  }
  FlattenOverWhite(rgba.data(), 256, colours.data());
  return 0;
}

// What reads one picture, whichever way its rows come.
class PngReader {
 public:
  PngReader(spng_ctx* context, const spng_ihdr& header, bool alpha)
      : context_(context),
        header_(header),
        alpha_(alpha),
        interlaced_(header.interlace_method != 0),
        by_number_(!interlaced_ && header.bit_depth <= 8 &&
                   (header.color_type == SPNG_COLOR_TYPE_GRAYSCALE ||
                    header.color_type == SPNG_COLOR_TYPE_INDEXED)),
        row_bytes_(by_number_ ? (size_t{header.width} * header.bit_depth + 7) / 8
                              : size_t{header.width} * (alpha ? 4 : 3)) {}

  // The library keeps a row as the file has it and the one before.
  int64_t BytesNeeded() const {
    return static_cast<int64_t>(PixelBytes() + ColourBytes()) +
           2 * kPixelBytesMax * int64_t{header_.width};
  }

  // Sixteen bits lose their lower eight, in grey too (where Pillow saturates instead).
  // Returns the library's error, or 0.
  int ReadRows(const WorkTime& work_time, RowSink& sink);
  bool too_slow() const { return too_slow_; }

 private:
  // The rows of an interlaced picture come several times.
  size_t PixelBytes() const { return row_bytes_ * (interlaced_ ? header_.height : 1); }
  size_t ColourBytes() const { return by_number_ ? size_t{3} * header_.width : 0; }
  void Give(uint8_t* row, RowSink& sink);

  spng_ctx* const context_;
  const spng_ihdr header_;
  const bool alpha_;
  const bool interlaced_;
  const bool by_number_;  // Pixels come as the file has them, to be looked up.
  const size_t row_bytes_;
  Colours colours_ = {};
  std::vector<uint8_t> looked_up_;
  bool too_slow_ = false;
};

void PngReader::Give(uint8_t* row, RowSink& sink) {
  if (!by_number_) {
    if (alpha_) FlattenOverWhite(row, header_.width, row);
    return sink.Row(row);
  }
  const uint32_t bits = header_.bit_depth;
  const uint32_t mask = (1U << bits) - 1;
  uint8_t* to = looked_up_.data();
  for (size_t i = 0, at = 0; i < header_.width; ++i, at += bits, to += 3) {
    const uint32_t number = static_cast<uint32_t>(row[at / 8]) >> (8 - bits - at % 8) & mask;
    std::memcpy(to, colours_.data() + size_t{3} * number, 3);
  }
  sink.Row(looked_up_.data());
}

int PngReader::ReadRows(const WorkTime& work_time, RowSink& sink) {
  std::vector<uint8_t> pixels(PixelBytes());
  looked_up_.resize(ColourBytes());
  if (by_number_) {
    if (const int error = ReadColours(context_, header_, colours_); error != 0) return error;
  }
  const int format = by_number_ ? SPNG_FMT_PNG : alpha_ ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8;
  const int flags = SPNG_DECODE_PROGRESSIVE | (alpha_ && !by_number_ ? SPNG_DECODE_TRNS : 0);
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
  for (size_t row = 0; interlaced_ && row < header_.height; ++row) {
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
