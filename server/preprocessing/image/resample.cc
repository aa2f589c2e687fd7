#include "server/preprocessing/image/resample.h"

#include <algorithm>
#include <cstring>

namespace torchd {
namespace {

constexpr int32_t kHalf = int32_t{1} << (kFractionBits - 1);

// Red, green, blue and what lies behind them.
using Levels4 = uint8_t __attribute__((vector_size(4)));
using Sums4 = int32_t __attribute__((vector_size(16)));

// A sum of weighted pixels as the level of a pixel.
template <typename Level>
Level Rounded(int32_t sum) {
  return static_cast<Level>(sum >> kFractionBits);
}
template <>
uint8_t Rounded<uint8_t>(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kFractionBits, 0, 255));
}

// Inlined into a function for each kind of processor.
template <typename Level>
[[gnu::always_inline]] inline void Row(const uint8_t* from, const uint8_t* end, const Taps& taps,
                                       Level* to) {
  for (const Tap& tap : taps.pixels) {
    const uint8_t* pixel = from + 3 * static_cast<size_t>(tap.first);
    const int32_t* weights = taps.weights.data() + tap.weights;
    Sums4 sums = {kHalf, kHalf, kHalf, 0};
    int i = 0;
    // Four bytes are read for three: not at the picture's very end.
    for (; i < tap.count && end - pixel >= 4; ++i, pixel += 3) {
      Levels4 levels;
      std::memcpy(&levels, pixel, sizeof(levels));
      sums += __builtin_convertvector(levels, Sums4) * weights[i];
    }
    for (; i < tap.count; ++i, pixel += 3) {
      sums += Sums4{pixel[0], pixel[1], pixel[2], 0} * weights[i];
    }
    for (int c = 0; c < 3; ++c) to[c] = Rounded<Level>(sums[c]);
    to += 3;
  }
}

template <typename Level>
[[gnu::always_inline]] inline void Columns(const std::vector<const Level*>& rows,
                                           const int32_t* weights, size_t samples, uint8_t* to) {
  constexpr size_t kBlock = 64;  // Sums that stay in registers.
  for (size_t begin = 0; begin < samples; begin += kBlock) {
    const size_t count = std::min(kBlock, samples - begin);
    int32_t sums[kBlock];
    std::fill(sums, sums + kBlock, kHalf);
    for (size_t i = 0; i < rows.size(); ++i) {
      const Level* row = rows[i] + begin;
      const int32_t weight = weights[i];
      if (count == kBlock) {
        for (size_t x = 0; x < kBlock; ++x) sums[x] += row[x] * weight;
      } else {
        for (size_t x = 0; x < count; ++x) sums[x] += row[x] * weight;
      }
    }
    for (size_t x = 0; x < count; ++x) to[begin + x] = Rounded<uint8_t>(sums[x]);
  }
}

// The compiler's usual x86-64 cannot multiply four whole numbers at once.
#if defined(__x86_64__)
template <typename Level>
[[gnu::target("avx2")]] void RowAvx2(const uint8_t* from, const uint8_t* end, const Taps& taps,
                                     Level* to) {
  Row(from, end, taps, to);
}

template <typename Level>
[[gnu::target("avx2")]] void ColumnsAvx2(const std::vector<const Level*>& rows,
                                         const int32_t* weights, size_t samples, uint8_t* to) {
  Columns(rows, weights, samples, to);
}

bool HasAvx2() {
  static const bool has = __builtin_cpu_supports("avx2") != 0;
  return has;
}
#endif

}  // namespace

template <typename Level>
void ResampleRow(const uint8_t* from, const uint8_t* end, const Taps& taps, Level* to) {
#if defined(__x86_64__)
  if (HasAvx2()) return RowAvx2(from, end, taps, to);
#endif
  Row(from, end, taps, to);
}

template <typename Level>
void ResampleColumns(const std::vector<const Level*>& rows, const int32_t* weights, size_t samples,
                     uint8_t* to) {
#if defined(__x86_64__)
  if (HasAvx2()) return ColumnsAvx2(rows, weights, samples, to);
#endif
  Columns(rows, weights, samples, to);
}

template void ResampleRow<uint8_t>(const uint8_t*, const uint8_t*, const Taps&, uint8_t*);
template void ResampleRow<int16_t>(const uint8_t*, const uint8_t*, const Taps&, int16_t*);
template void ResampleColumns<uint8_t>(const std::vector<const uint8_t*>&, const int32_t*, size_t,
                                       uint8_t*);
template void ResampleColumns<int16_t>(const std::vector<const int16_t*>&, const int32_t*, size_t,
                                       uint8_t*);

}  // namespace torchd
