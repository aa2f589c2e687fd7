// What DecodeImage() is made of: one decoder per format, and what both share. Private to this
// folder.
//
// Thread-safety: functions without state; call them from any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/preprocessing/image/image.h"

namespace torchd {

// Pixels as the file stores them, and the EXIF orientation (1 to 8) that makes them upright.
struct StoredImage {
  Image image;
  int orientation = 1;
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
// DecodeJpeg() gives them upright.
absl::StatusOr<StoredImage> DecodeJpeg(absl::string_view bytes, const ImageLimits& limits,
                                       int shorter_side);
absl::StatusOr<StoredImage> DecodePng(absl::string_view bytes, const ImageLimits& limits);
absl::StatusOr<StoredImage> DecodeWebp(absl::string_view bytes, const ImageLimits& limits);

// What a header claims, before memory is taken for it.
struct HeaderClaim {
  const char* format = "";  // "JPEG"
  int64_t width = 0;
  int64_t height = 0;
  int64_t bytes = 0;  // Most that decoding holds at a time.
};
absl::Status CheckHeader(const HeaderClaim& claim, const ImageLimits& limits);

// RGBA to RGB over white, in place, as Pillow's Image.alpha_composite() does it.
void FlattenOverWhite(std::vector<uint8_t>& pixels);

// Tag 0x0112 of the first directory, 1 to 8; empty where it is absent or the data is damaged.
// `tiff` starts with "II*\0" or "MM\0*", with or without "Exif\0\0" in front.
std::optional<int> ExifOrientation(absl::string_view tiff);

// Photo editors leave the orientation in XMP where there is no EXIF; Pillow reads it there.
int XmpOrientation(absl::string_view xmp);

}  // namespace torchd
