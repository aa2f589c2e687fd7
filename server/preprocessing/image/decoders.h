// One decoder per format, and what they share. Each gives a picture row by row to a RowSink, and
// holds the whole of it only where the format leaves no choice. Private to this folder and its
// tests.
//
// Thread-safety: functions without state; call them from any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/preprocessing/image/image.h"

namespace torchd {

// What is known of a picture before its first row.
struct PictureShape {
  int width = 0;  // Of the rows as they come.
  int height = 0;
  // One of their pixels stands for so many of the file's, across and down: 1, 2, 4 or 8. Those at
  // the right and at the bottom may stand for fewer.
  int shrink = 1;
  int full_width = 0;  // As the file has it.
  int full_height = 0;
  int orientation = 1;  // By EXIF, 1 to 8: what makes it upright.

  bool OnItsSide() const { return orientation > 4; }  // Rows of the file are upright columns.
  bool ColumnsRunBack() const {
    return orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  }
  bool RowsRunBack() const {
    return orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  }
};

// What takes a picture's rows as they are decoded.
class RowSink {
 public:
  virtual ~RowSink() = default;

  // Once, before the first row. Returns how many bytes it will hold from the first row on.
  virtual absl::StatusOr<int64_t> Begin(const PictureShape& shape) = 0;

  // From the top to the bottom of the file's picture. `rgb`: 8 bits a channel, good until this
  // returns.
  virtual void Row(const uint8_t* rgb) = 0;
};

// The time that a thread has spent on one picture. Asking costs a system call.
class WorkTime {
 public:
  explicit WorkTime(std::chrono::milliseconds most) : most_(most), begun_(Now()) {}

  bool IsUp() const { return Now() - begun_ >= most_; }
  // INVALID_ARGUMENT: the same bytes would take as long again.
  absl::Status Exceeded(absl::string_view format) const;

 private:
  static std::chrono::nanoseconds Now();

  const std::chrono::nanoseconds most_;
  const std::chrono::nanoseconds begun_;
};
inline constexpr int kRowsBetweenLooks = 32;  // At a WorkTime.

// Requires: `bytes` start with the magic of the format.
// `shorter_side`: what the shorter side will be resized to, smoothly; then a JPEG that is very much
// larger may come at a fraction of its size. 0: at its own.
absl::Status DecodeJpeg(absl::string_view bytes, const ImageLimits& limits, int shorter_side,
                        RowSink& sink);
absl::Status DecodePng(absl::string_view bytes, const ImageLimits& limits, RowSink& sink);
absl::Status DecodeWebp(absl::string_view bytes, const ImageLimits& limits, RowSink& sink);

// Whether the size that a header claims is taken. `format`: "JPEG".
absl::Status CheckSize(absl::string_view format, int64_t width, int64_t height,
                       const ImageLimits& limits);

// Begins `sink`, unless it and the decoder together would hold too much. `decoder_bytes`: the most
// that the decoder holds at a time.
absl::Status BeginRows(absl::string_view format, const PictureShape& shape, int64_t decoder_bytes,
                       const ImageLimits& limits, RowSink& sink);

// RGBA to RGB over white, as Pillow's Image.alpha_composite() does it. May be in place.
void FlattenOverWhite(const uint8_t* rgba, size_t pixels, uint8_t* rgb);

// Tag 0x0112 of the first directory, 1 to 8; empty where it is absent or the data is damaged.
// `tiff` starts with "II*\0" or "MM\0*", with or without "Exif\0\0" in front.
std::optional<int> ExifOrientation(absl::string_view tiff);

// Photo editors leave the orientation in XMP where there is no EXIF; Pillow reads it there.
int XmpOrientation(absl::string_view xmp);

}  // namespace torchd
