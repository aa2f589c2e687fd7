// jpeglib.h needs the first two in front of it, and jerror.h needs jpeglib.h.
// clang-format off
#include <cstddef>
#include <cstdio>
#include <jpeglib.h>
#include <jerror.h>
// clang-format on

#include <algorithm>
#include <csetjmp>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
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
constexpr int kExifMarker = JPEG_APP0 + 1;

// Where the pixels of the file go in an upright picture: column i of row j to
// first + i * column + j * row, in bytes.
struct Placement {
  ptrdiff_t first;
  ptrdiff_t column;
  ptrdiff_t row;
};

// A photo from a telephone is turned as it is decoded: a copy would need as much memory again.
Placement PlacementFor(int orientation, ptrdiff_t width, ptrdiff_t height) {
  const bool turned = orientation > 4;
  const bool columns_back =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool rows_back =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  const ptrdiff_t column = turned ? 3 * height : 3;
  const ptrdiff_t row = turned ? 3 : 3 * width;
  return {(columns_back ? column * (width - 1) : 0) + (rows_back ? row * (height - 1) : 0),
          columns_back ? -column : column, rows_back ? -row : row};
}

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

  // Calls libjpeg. `rgb`: room for all pixels that are left of `shrink` by `shrink`; `row`: for
  // seven bytes each of a row.
  bool ReadPixels(int shrink, const Placement& placement, uint8_t* rgb, uint8_t* row);

  const char* Message() const { return message_; }
  const jpeg_decompress_struct& info() const { return info_; }
  bool too_slow() const { return too_slow_; }
  bool IsCmyk() const { return info_.num_components == 4; }
  int64_t BytesNeeded(int shrink) const;
  // By how much less it is decoded, for a result of that side: what changes no level visibly, and
  // more where it would not fit into memory.
  int Shrink(int shorter_side, int64_t bytes_max) const;
  int Orientation() const;

 private:
  bool HasFullChroma() const;
  int ShrinkMost(int shorter_side, int pixels_left) const;
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

int64_t JpegReader::BytesNeeded(int shrink) const {
  // The defaults mean the accurate DCT and smooth upsampling, which are Pillow's too. A file of
  // several scans keeps all its coefficients: two bytes for each sample.
  const int64_t across = (int64_t{info_.image_width} + shrink - 1) / shrink;
  const int64_t down = (int64_t{info_.image_height} + shrink - 1) / shrink;
  int64_t bytes = 3 * across * down;
  if (!info_.progressive_mode && info_.comps_in_scan >= info_.num_components) return bytes;
  for (int i = 0; i < info_.num_components; ++i) {
    const jpeg_component_info& component = info_.comp_info[i];
    bytes += int64_t{component.width_in_blocks} * component.height_in_blocks * DCTSIZE2 *
             static_cast<int64_t>(sizeof(JCOEF));
  }
  return bytes;
}

// An edge inside what becomes one pixel moves a level of the result by about contrast / (8 x
// pixels^2), where the filter of the resize spans that many of the pixels that are left, to either
// side. Where chroma has fewer samples than luma, colours that no screen can show are clipped
// before or after, which shows on thin lines at any size (16 levels at 24 pixels).
constexpr int kPixelsLeft = 12;  // Measured: within the tolerance of two levels of 255.
// By a few levels, more on thin lines; better than no answer.
constexpr int kPixelsLeast = 4;

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

int JpegReader::ShrinkMost(int shorter_side, int pixels_left) const {
  const int64_t shorter = std::min(info_.image_width, info_.image_height);
  const bool upright = Orientation() == 1;
  int shrink = 1;
  for (int next = 2; shorter_side > 0 && next <= 8; next *= 2) {
    // What is left over at the right would come to lie at the left of a turned picture.
    const bool whole = info_.image_width % next == 0 && info_.image_height % next == 0;
    if (shorter >= int64_t{pixels_left} * next * shorter_side && (upright || whole)) shrink = next;
  }
  return shrink;
}

int JpegReader::Shrink(int shorter_side, int64_t bytes_max) const {
  const int most = ShrinkMost(shorter_side, kPixelsLeast);
  int shrink = HasFullChroma() ? ShrinkMost(shorter_side, kPixelsLeft) : 1;
  while (shrink < most && BytesNeeded(shrink) > bytes_max) shrink *= 2;
  return shrink;
}

// The inverse of CMYK as Adobe writes it and Pillow takes all CMYK to be.
void RgbOfInvertedCmyk(const uint8_t* cmyk, size_t pixels, uint8_t* rgb) {
  for (size_t i = 0; i < pixels; ++i, cmyk += 4, rgb += 3) {
    const int white = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[c]) * white + 128;
      rgb[c] = static_cast<uint8_t>(white - (((product >> 8) + product) >> 8));
    }
  }
}

bool JpegReader::ReadPixels(int shrink, const Placement& placement, uint8_t* rgb, uint8_t* row) {
  if (setjmp(jump_) != 0) return false;
  info_.scale_num = 1;
  info_.scale_denom = static_cast<unsigned>(shrink);
  info_.out_color_space = IsCmyk() ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&info_);
  const size_t width = info_.output_width;
  while (info_.output_scanline < info_.output_height) {
    uint8_t* target = rgb + placement.first + placement.row * info_.output_scanline;
    const bool straight = placement.column == 3;
    uint8_t* line = straight ? target : row + 4 * width;
    JSAMPROW rows[1] = {IsCmyk() ? row : line};
    jpeg_read_scanlines(&info_, rows, 1);
    if (IsCmyk()) RgbOfInvertedCmyk(row, width, line);
    for (size_t i = 0; !straight && i < width; ++i, target += placement.column, line += 3) {
      std::memcpy(target, line, 3);
    }
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

absl::StatusOr<StoredImage> DecodeJpeg(absl::string_view bytes, const ImageLimits& limits,
                                       int shorter_side) {
  const WorkTime work_time(limits.time_max);
  JpegReader reader(work_time);
  if (!reader.ReadHeader(bytes)) return Damaged(reader);
  const int shrink = reader.Shrink(shorter_side, limits.decoded_bytes_max);
  const HeaderClaim claim = {.format = "JPEG",
                             .width = reader.info().image_width,
                             .height = reader.info().image_height,
                             .bytes = reader.BytesNeeded(shrink)};
  TORCHD_RETURN_IF_ERROR(CheckHeader(claim, limits));
  const int components = reader.info().num_components;
  if (components != 1 && components != 3 && components != 4) {
    return absl::InvalidArgumentError(
        absl::StrCat("JPEG of ", components, " components; 1, 3 or 4 expected"));
  }
  StoredImage stored;
  Image& image = stored.image;
  image.shrink = shrink;
  image.full_width = static_cast<int>(claim.width);
  image.full_height = static_cast<int>(claim.height);
  image.width = (image.full_width + shrink - 1) / shrink;
  image.height = (image.full_height + shrink - 1) / shrink;
  const size_t width = static_cast<size_t>(image.width);
  image.rgb.resize(3 * width * static_cast<size_t>(image.height));
  std::vector<uint8_t> row(7 * width);
  const int orientation = reader.Orientation();
  const Placement placement = PlacementFor(orientation, image.width, image.height);
  if (!reader.ReadPixels(shrink, placement, image.rgb.data(), row.data())) {
    return reader.too_slow() ? work_time.Exceeded("JPEG") : Damaged(reader);
  }
  if (orientation > 4) {
    std::swap(image.width, image.height);
    std::swap(image.full_width, image.full_height);
  }
  return stored;
}

}  // namespace torchd
