// jpeglib.h needs the first two in front of it, and jerror.h needs jpeglib.h.
// clang-format off
#include <cstddef>
#include <cstdio>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/base/status_macros.h"
#include "server/preprocessing/image/decoders.h"

namespace torchd {
namespace {

// A few bytes can hold thousands of scans, each of which walks over all pixels.
constexpr int kScansMax = 100;
// libjpeg works on the rows of 16 pixels' height that a file is coded in, and looks at their
// neighbours.
constexpr int kRowsHeld = 48;
constexpr int kExifMarker = JPEG_APP0 + 1;

// One decompression. libjpeg reports errors by longjmp(), which must not pass a destructor: only
// the functions marked so call libjpeg, and none of them makes an object that has one.
class JpegReader {
 public:
  explicit JpegReader(const WorkTime& work_time) : work_time_(work_time) {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = this;
    errors_.error_exit = &JpegReader::OnError;
    errors_.emit_message = &JpegReader::OnWarning;
    progress_.progress_monitor = &JpegReader::OnProgress;
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info_); }

  // Calls libjpeg. False on an error, then Message() tells it.
  bool ReadHeader(absl::string_view bytes);

  // Calls libjpeg, and between its calls `sink`. `row`: room for four bytes a pixel.
  bool ReadRows(int shrink, uint8_t* row, RowSink& sink);

  const char* Message() const { return message_; }
  const jpeg_decompress_struct& info() const { return info_; }
  bool too_slow() const { return too_slow_; }
  bool IsCmyk() const { return info_.num_components == 4; }
  // What it holds at a time, rows for the caller included.
  int64_t BytesNeeded(int shrink) const;
  // By how much less it may be decoded, for a result of that side.
  int Shrink(int shorter_side) const;
  int Orientation() const;

 private:
  bool HasFullChroma() const;
  double LevelsRoundedAway() const;
  static JpegReader& From(j_common_ptr info) {
    return *static_cast<JpegReader*>(info->client_data);
  }
  [[noreturn]] static void OnError(j_common_ptr info);
  static void OnWarning(j_common_ptr info, int level);
  static void OnProgress(j_common_ptr info);

  const WorkTime& work_time_;
  int looks_ = 0;
  bool too_slow_ = false;
  jpeg_decompress_struct info_ = {};
  jpeg_error_mgr errors_ = {};
  jpeg_progress_mgr progress_ = {};
  std::jmp_buf jump_ = {};
  char message_[JMSG_LENGTH_MAX] = {};
};

void JpegReader::OnError(j_common_ptr info) {
  JpegReader& reader = From(info);
  info->err->format_message(info, reader.message_);
  std::longjmp(reader.jump_, 1);
}

// libjpeg mends damaged data with grey and goes on; a client is better served by an error. What
// does no harm to the pixels (bytes between segments, say) is let pass: cameras write such files.
void JpegReader::OnWarning(j_common_ptr info, int level) {
  if (level >= 0) return;
  switch (info->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
      OnError(info);
    default:
      break;
  }
}

void JpegReader::OnProgress(j_common_ptr info) {
  JpegReader& reader = From(info);
  if (++reader.looks_ % kRowsBetweenLooks == 0 && reader.work_time_.IsUp()) {
    reader.too_slow_ = true;
    std::longjmp(reader.jump_, 1);
  }
  const int scan = reinterpret_cast<j_decompress_ptr>(info)->input_scan_number;
  if (scan <= kScansMax) return;
  std::snprintf(reader.message_, sizeof(reader.message_), "more than %d scans", kScansMax);
  std::longjmp(reader.jump_, 1);
}

bool JpegReader::ReadHeader(absl::string_view bytes) {
  if (setjmp(jump_) != 0) return false;
  jpeg_create_decompress(&info_);
  info_.progress = &progress_;
  jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_save_markers(&info_, kExifMarker, 0xFFFF);
  jpeg_read_header(&info_, TRUE);
  return true;
}

int64_t WholeUnits(int64_t blocks, int at_once) {
  return (blocks + at_once - 1) / at_once * at_once;
}

int64_t JpegReader::BytesNeeded(int shrink) const {
  // The defaults mean the accurate DCT and smooth upsampling, which are Pillow's too.
  const int64_t across = (int64_t{info_.image_width} + shrink - 1) / shrink;
  int64_t bytes = kRowsHeld * 3 * across;
  if (info_.progressive_mode == 0 && info_.comps_in_scan >= info_.num_components) return bytes;
  for (int i = 0; i < info_.num_components; ++i) {
    const jpeg_component_info& component = info_.comp_info[i];
    bytes += WholeUnits(component.width_in_blocks, component.h_samp_factor) *
             WholeUnits(component.height_in_blocks, component.v_samp_factor) * DCTSIZE2 *
             static_cast<int64_t>(sizeof(JCOEF));
  }
  return bytes;
}

bool JpegReader::HasFullChroma() const {
  for (int i = 0; i < info_.num_components; ++i) {
    const jpeg_component_info& component = info_.comp_info[i];
    if (component.h_samp_factor != info_.max_h_samp_factor ||
        component.v_samp_factor != info_.max_v_samp_factor) {
      return false;
    }
  }
  return true;
}

// How far the mean of some of a component's samples can move when they are clipped to 0..255: what
// was in that range before it was encoded has left it by what the encoder rounded away. That is
// half a step a coefficient at most, so the samples' root mean square is at most a sixteenth of the
// steps' norm, their mean a sixteenth of the first step, and either sign's share half of both.
double MostClipped(const JQUANT_TBL& table) {
  double squares = 0;
  for (const UINT16 step : table.quantval) squares += static_cast<double>(step) * step;
  return (std::sqrt(squares) + table.quantval[0]) / 32;
}

double JpegReader::LevelsRoundedAway() const {
  double clipped[3] = {};
  for (int i = 0; i < info_.num_components; ++i) {
    const int table = info_.comp_info[i].quant_tbl_no;
    if (table < 0 || table >= NUM_QUANT_TBLS || info_.quant_tbl_ptrs[table] == nullptr) return 256;
    clipped[i] = MostClipped(*info_.quant_tbl_ptrs[table]);
  }
  const auto [first, second, third] = clipped;
  if (info_.jpeg_color_space != JCS_YCbCr) return std::max({first, second, third});
  return first + std::max({1.402 * third, 0.344 * second + 0.714 * third, 1.772 * second});
}

// libjpeg's smaller sizes are means of the full one's pixels before those are clipped. So a level
// of the result moves by what clipping is worth, and, at an edge inside of what becomes one pixel,
// by about contrast / (8 x pixels^2), where the filter of the resize spans that many of the pixels
// that are left, to either side. Colours with fewer samples than brightness are clipped by more
// than rounding where they meet, and CMYK is multiplied after: those stay as they are.
constexpr int kPixelsLeft = 12;
constexpr double kRoundedAwayMax = 1.2;  // With the above and libjpeg's own roundings below two.

int JpegReader::Shrink(int shorter_side) const {
  if (shorter_side < 1 || IsCmyk() || !HasFullChroma()) return 1;
  const int64_t shorter = std::min(info_.image_width, info_.image_height);
  if (shorter < int64_t{2} * kPixelsLeft * shorter_side) return 1;
  if (LevelsRoundedAway() > kRoundedAwayMax) return 1;
  const bool upright = Orientation() == 1;
  int shrink = 1;
  for (int next = 2; next <= 8; next *= 2) {
    // What is left over at the right would come to lie at the left of a turned picture.
    const bool whole = info_.image_width % next == 0 && info_.image_height % next == 0;
    if (shorter >= int64_t{kPixelsLeft} * next * shorter_side && (upright || whole)) shrink = next;
  }
  return shrink;
}

// The inverse of CMYK as Adobe writes it and Pillow takes all CMYK to be, in place.
void RgbOfInvertedCmyk(uint8_t* row, size_t pixels) {
  const uint8_t* cmyk = row;
  uint8_t* rgb = row;  // A pixel is never written before it has been read.
  for (size_t i = 0; i < pixels; ++i, cmyk += 4, rgb += 3) {
    const int white = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[c]) * white + 128;
      rgb[c] = static_cast<uint8_t>(white - (((product >> 8) + product) >> 8));
    }
  }
}

bool JpegReader::ReadRows(int shrink, uint8_t* row, RowSink& sink) {
  if (setjmp(jump_) != 0) return false;
  info_.scale_num = 1;
  info_.scale_denom = static_cast<unsigned>(shrink);
  info_.out_color_space = IsCmyk() ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&info_);
  while (info_.output_scanline < info_.output_height) {
    JSAMPROW rows[1] = {row};
    jpeg_read_scanlines(&info_, rows, 1);
    if (IsCmyk()) RgbOfInvertedCmyk(row, info_.output_width);
    sink.Row(row);
  }
  return true;
}

int JpegReader::Orientation() const {
  const absl::string_view exif("Exif\0\0", 6);
  const absl::string_view xmp("http://ns.adobe.com/xap/1.0/\0", 29);
  int from_xmp = 1;
  for (const jpeg_marker_struct* marker = info_.marker_list; marker; marker = marker->next) {
    const absl::string_view data(reinterpret_cast<const char*>(marker->data), marker->data_length);
    if (absl::StartsWith(data, exif)) {
      const std::optional<int> orientation = ExifOrientation(data);
      if (orientation) return *orientation;
    }
    if (absl::StartsWith(data, xmp)) from_xmp = XmpOrientation(data);
  }
  return from_xmp;
}

absl::Status Damaged(const JpegReader& reader) {
  return absl::InvalidArgumentError(absl::StrCat("JPEG does not decode: ", reader.Message()));
}

}  // namespace

absl::Status DecodeJpeg(absl::string_view bytes, const ImageLimits& limits, int shorter_side,
                        RowSink& sink) {
  const WorkTime work_time(limits.time_max);
  JpegReader reader(work_time);
  if (!reader.ReadHeader(bytes)) return Damaged(reader);
  const jpeg_decompress_struct& info = reader.info();
  TORCHD_RETURN_IF_ERROR(CheckSize("JPEG", info.image_width, info.image_height, limits));
  const int components = info.num_components;
  if (components != 1 && components != 3 && components != 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("JPEG of ", components, " components; 1, 3 or 4 expected"));
  }
  PictureShape shape;
  shape.shrink = reader.Shrink(shorter_side);
  shape.full_width = static_cast<int>(info.image_width);
  shape.full_height = static_cast<int>(info.image_height);
  shape.width = (shape.full_width + shape.shrink - 1) / shape.shrink;
  shape.height = (shape.full_height + shape.shrink - 1) / shape.shrink;
  shape.orientation = reader.Orientation();
  TORCHD_RETURN_IF_ERROR(BeginRows("JPEG", shape, reader.BytesNeeded(shape.shrink), limits, sink));
  std::vector<uint8_t> row(4 * static_cast<size_t>(shape.width));
  if (!reader.ReadRows(shape.shrink, row.data(), sink)) {
    return reader.too_slow() ? work_time.Exceeded("JPEG") : Damaged(reader);
  }
  return absl::OkStatus();
}

}  // namespace torchd
