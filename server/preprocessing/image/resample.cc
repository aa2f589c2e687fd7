#include "server/preprocessing/image/resample.h"

#include <algorithm>
#include <cstring>

namespace torchd {
namespace {

constexpr int32_t kHalf = int32_t{1} << (kFractionBits - 1);

// Red, green, blue and what lies behind them.
template <typename Level>
struct Four;
template <>
struct Four<uint8_t> {
  using Levels = uint8_t __attribute__((vector_size(4)));
};
template <>
struct Four<int16_t> {
  using Levels = int16_t __attribute__((vector_size(8)));
};
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
template <typename From, typename To>
[[gnu::always_inline]] inline void Row(const From* from, const From* end, const Taps& taps,
                                       To* to) {
  for (const Tap& tap : taps.pixels) {
    const From* pixel = from + 3 * static_cast<size_t>(tap.first);
    const int32_t* weights = taps.weights.data() + tap.weights;
    Sums4 sums = {kHalf, kHalf, kHalf, 0};
    int i = 0;
    // Four levels are read for three: not at the very end.
    for (; i < tap.count && end - pixel >= 4; ++i, pixel += 3) {
      typename Four<From>::Levels levels;
      std::memcpy(&levels, pixel, sizeof(levels));
      sums += __builtin_convertvector(levels, Sums4) * weights[i];
    }
    for (; i < tap.count; ++i, pixel += 3) {
      sums += Sums4{pixel[0], pixel[1], pixel[2], 0} * weights[i];
    }
    for (int c = 0; c < 3; ++c) to[c] = Rounded<To>(sums[c]);
    to += 3;
  }
}

template <typename From, typename To>
[[gnu::always_inline]] inline void Columns(const std::vector<const From*>& rows,
                                           const int32_t* weights, size_t samples, To* to) {
  constexpr size_t kBlock = 64;  // Sums that stay in registers.
  for (size_t begin = 0; begin < samples; begin += kBlock) {
    const size_t count = std::min(kBlock, samples - begin);
    int32_t sums[kBlock];
    std::fill(sums, sums + kBlock, kHalf);
    for (size_t i = 0; i < rows.size(); ++i) {
      const From* row = rows[i] + begin;
      const int32_t weight = weights[i];
      if (count == kBlock) {
        for (size_t x = 0; x < kBlock; ++x) sums[x] += row[x] * weight;
      } else {
        for (size_t x = 0; x < count; ++x) sums[x] += row[x] * weight;
      }
    }
    for (size_t x = 0; x < count; ++x) to[begin + x] = Rounded<To>(sums[x]);
  }
}

// The compiler's usual x86-64 cannot multiply four whole numbers at once.
#if defined(__x86_64__)
template <typename From, typename To>
[[gnu::target("avx2")]] void RowAvx2(const From* from, const From* end, const Taps& taps, To* to) {
  Row(from, end, taps, to);
}

template <typename From, typename To>
[[gnu::target("avx2")]] void ColumnsAvx2(const std::vector<const From*>& rows,
                                         const int32_t* weights, size_t samples, To* to) {
  Columns(rows, weights, samples, to);
}

bool HasAvx2() {
  static const bool has = __builtin_cpu_supports("avx2") != 0;
  return has;
}
#endif

}  // namespace

template <typename From, typename To>
void ResampleRow(const From* from, const From* end, const Taps& taps, To* to) {
#if defined(__x86_64__)
  if (HasAvx2()) return RowAvx2(from, end, taps, to);
#endif
  Row(from, end, taps, to);
}

template <typename From, typename To>
void ResampleColumns(const std::vector<const From*>& rows, const int32_t* weights, size_t samples,
                     To* to) {
#if defined(__x86_64__)
  if (HasAvx2()) return ColumnsAvx2(rows, weights, samples, to);
#endif
  Columns(rows, weights, samples, to);
}

template void ResampleRow<uint8_t, uint8_t>(const uint8_t*, const uint8_t*, const Taps&, uint8_t*);
template void ResampleColumns<uint8_t, uint8_t>(const std::vector<const uint8_t*>&, const int32_t*,
                                                size_t, uint8_t*);
template void ResampleRow<uint8_t, int16_t>(const uint8_t*, const uint8_t*, const Taps&, int16_t*);
template void ResampleColumns<uint8_t, int16_t>(const std::vector<const uint8_t*>&, const int32_t*,
                                                size_t, int16_t*);
template void ResampleRow<int16_t, uint8_t>(const int16_t*, const int16_t*, const Taps&, uint8_t*);
template void ResampleColumns<int16_t, uint8_t>(const std::vector<const int16_t*>&, const int32_t*,
                                                size_t, uint8_t*);

}  // namespace torchd
