// The inner loops of the resize: sums of weighted pixels. Private to this folder.
//
// Sums are whole numbers in fixed point, so every processor comes to the same ones.
//
// Thread-safety: functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

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

// One source row of RGB to the pixels of `taps`. `Level` is uint8_t, clipped as Pillow does between
// its two passes, or int16_t, not clipped as torch does. `end`: of the picture's bytes.
template <typename Level>
void ResampleRow(const uint8_t* from, const uint8_t* end, const Taps& taps, Level* to);

// Sums of whole rows. `rows(i)` is the row that `weights[i]` belongs to.
template <typename Level>
void ResampleColumns(const std::vector<const Level*>& rows, const int32_t* weights, size_t samples,
                     uint8_t* to);

}  // namespace torchd
