// What libwebp will hold of a lossless picture beside its pixels. A picture may bring thousands of
// prefix codes, for each of which libwebp takes a table of 12 kB or more: 300 kB of file take 800
// MB. How many there are stands behind the small pictures at the front of its stream, which are
// walked over here; no pixel is decoded. Private to this folder and its tests.
//
// Thread-safety: functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace torchd {

// The stream of a chunk VP8L after its five bytes of header, or of a compressed ALPH after its one.
// Empty where it is damaged or ends too early.
std::optional<int64_t> LosslessTableBytes(absl::string_view stream, int64_t width, int64_t height);

}  // namespace torchd
