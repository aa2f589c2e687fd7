// The inner loops of the resize: sums of weighted pixels. Private to this folder.
//
// Sums are whole numbers in fixed point, so every processor comes to the same ones.
//
// Thread-safety: functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/preprocessing/image/taps.h"

namespace torchd {

// A level is uint8_t, clipped, or between the two passes int16_t, not clipped. Instantiated for
// each way but from int16_t to int16_t.

// One row of RGB to the pixels of `taps`. `end`: of what may be read.
template <typename From, typename To>
void ResampleRow(const From* from, const From* end, const Taps& taps, To* to);

// Sums of whole rows. `weights[i]` is that of `rows[i]`.
template <typename From, typename To>
void ResampleColumns(const std::vector<const From*>& rows, const int32_t* weights, size_t samples,
                     To* to);

}  // namespace torchd
