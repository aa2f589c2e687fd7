// Which pixels of a picture make a pixel of the resized one, and by what weights: Pillow's filters
// and torch's, for the stretch that the crop keeps. Private to this folder.
//
// Thread-safety: functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/config/model_config.h"

namespace torchd {

inline constexpr int kFractionBits = 22;  // Of a weight: 8 bits of pixel and 2 of overshoot remain.

// How one pixel of the result is made: the sum of `count` source pixels from `first` on, weighted.
struct Tap {
  int first = 0;
  int count = 0;
  size_t weights = 0;  // Index of the first weight.
};

struct Taps {
  std::vector<Tap> pixels;
  std::vector<int32_t> weights;
  int reach = 1;  // Of a tap before zeros were left away at its ends; such taps never step back.
};

// What a picture measures along one axis.
struct Extent {
  int size = 0;
  int full_size = 0;  // Of the file's picture, of which `shrink` pixels are one here.
  int shrink = 1;
};

// One axis of the picture before and after the resize, and the stretch of the result that the crop
// keeps.
struct Axis {
  Extent extent;
  int64_t resized = 0;
  int64_t first = 0;  // In the resized image.
  int count = 0;
  int padding = 0;  // Zeros in front, where the crop is larger than the resized image.

  double Scale() const {
    return static_cast<double>(extent.full_size) / static_cast<double>(resized) / extent.shrink;
  }
};

// torchvision's centre crop of `crop` pixels out of `resized`.
Axis MakeAxis(const Extent& extent, int64_t resized, int crop);

// For the pixels of `axis` that the crop keeps, by the filter of `config`.
Taps MakeTaps(const Axis& axis, const ImageConfig& config);

// The same for an axis of `size` pixels that the file has the other way round.
void Mirror(int size, Taps& taps);

}  // namespace torchd
