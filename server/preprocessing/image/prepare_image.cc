#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/base/status_macros.h"
#include "server/preprocessing/image/crop.h"
#include "server/preprocessing/image/decoders.h"
#include "server/preprocessing/image/image.h"

namespace torchd {
namespace {

constexpr absl::string_view kJpegMagic("\xFF\xD8\xFF", 3);
constexpr absl::string_view kPngMagic("\x89PNG\r\n\x1A\n", 8);
constexpr absl::string_view kRiffMagic("RIFF", 4);
constexpr absl::string_view kWebpMagic("WEBP", 4);  // After RIFF and four bytes of length.

// How small a picture may be decoded in place of its full size; 0: it may not.
int ShorterSide(const ImageConfig& config) {
  return config.antialias && config.filter != ResizeFilter::kNearest ? config.resize : 0;
}

absl::Status Decode(absl::string_view bytes, const ImageLimits& limits, int shorter_side,
                    RowSink& sink) {
  if (absl::StartsWith(bytes, kJpegMagic)) return DecodeJpeg(bytes, limits, shorter_side, sink);
  if (absl::StartsWith(bytes, kPngMagic)) return DecodePng(bytes, limits, sink);
  if (absl::StartsWith(bytes, kRiffMagic) && bytes.size() >= 12 &&
      bytes.substr(8, 4) == kWebpMagic) {
    return DecodeWebp(bytes, limits, sink);
  }
  if (bytes.empty()) {
    return absl::InvalidArgumentError("item is empty; the bytes of a JPEG, PNG or WebP expected");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("item is none of JPEG, PNG and WebP (starts with 0x",
                   absl::BytesToHexString(bytes.substr(0, 8)), ")"));
}

}  // namespace

absl::StatusOr<Tensor> PrepareImage(absl::string_view bytes, const ImageLimits& limits,
                                    const ImageConfig& config, const Pixels& pixels) {
  Crop crop(config, pixels);
  TORCHD_RETURN_IF_ERROR(Decode(bytes, limits, ShorterSide(config), crop));
  return crop.Take();
}

}  // namespace torchd
