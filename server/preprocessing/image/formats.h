// The encodings of images that DecodeImage() takes, as clients are told them.
#pragma once

#include <array>

namespace torchd {

// tests/end_to_end/test_explain_input.py sends one of each, and some that are not among them.
inline constexpr std::array<const char*, 3> kImageFormats = {"jpeg", "png", "webp"};

}  // namespace torchd
