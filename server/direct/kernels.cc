#include "server/direct/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/functional/function_ref.h"
#include "server/direct/libgomp.h"

#define TORCHD_FOR_EACH_CPU __attribute__((target_clones("avx512f", "avx2", "default")))

namespace torchd {
namespace {

constexpr int64_t kWorthATeam = 16 << 10;  // Floats; a team takes some microseconds to begin.
constexpr int kBlockMax = 16;

using Part = absl::FunctionRef<void(int64_t)>;

struct Parts {
  int64_t count;
  Part run;
};

// Each thread takes parts that follow each other.
void RunShare(void* data) {
  const auto& parts = *static_cast<const Parts*>(data);
  const int64_t threads = omp_get_num_threads();
  const int64_t thread = omp_get_thread_num();
  const int64_t end = parts.count * (thread + 1) / threads;
  for (int64_t part = parts.count * thread / threads; part < end; ++part) parts.run(part);
}

void ForEach(int64_t count, int64_t floats, Part run) {
  Parts parts = {count, run};
  if (floats < kWorthATeam) {
    for (int64_t part = 0; part < count; ++part) run(part);
  } else {
    GOMP_parallel(&RunShare, &parts, 0, 0);
  }
}

struct Limits {
  float low;
  float high;
};

template <int kBlock>
[[gnu::always_inline]] inline void AffineOf(const float* from, float* to, int64_t pixels,
                                            const float* scale, const float* shift, Limits limits) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    for (int lane = 0; lane < kBlock; ++lane) {
      const float value = from[pixel * kBlock + lane] * scale[lane] + shift[lane];
      const float above = value < limits.low ? limits.low : value;  // What is no number stays so.
      to[pixel * kBlock + lane] = above > limits.high ? limits.high : above;
    }
  }
}

TORCHD_FOR_EACH_CPU
void AffineOfBlock(int64_t block, const float* from, float* to, int64_t pixels, const float* scale,
                   const float* shift, Limits limits) {
  if (block == 16) {
    AffineOf<16>(from, to, pixels, scale, shift, limits);
  } else {
    AffineOf<8>(from, to, pixels, scale, shift, limits);
  }
}

void CopyLanes(const float* const* lanes, size_t count, float* to, int64_t pixels, int64_t block) {
  bool together = static_cast<int64_t>(count) == block;
  for (size_t lane = 1; lane < count && together; ++lane) {
    together = lanes[lane] == lanes[0] + lane;
  }
  if (together) {
    std::memcpy(to, lanes[0], static_cast<size_t>(pixels * block) * sizeof *to);
    return;
  }
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    float* const there = to + pixel * block;
    for (size_t lane = 0; lane < count; ++lane) there[lane] = lanes[lane][pixel * block];
    for (auto lane = static_cast<int64_t>(count); lane < block; ++lane) there[lane] = 0;
  }
}

TORCHD_FOR_EACH_CPU
bool AnyNotFinite(const float* numbers, int64_t count) {
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(numbers[i]);
    found |= static_cast<uint32_t>((bits & kExponent) == kExponent);
  }
  return found != 0;
}

}  // namespace

void RunAffine(const AffineTask& task) {
  const Activation& activation = task.activation;
  Limits limits = {-INFINITY, INFINITY};
  if (activation.kind == Activation::Kind::kRelu) limits.low = 0;
  if (activation.kind == Activation::Kind::kClip) limits = {activation.low, activation.high};
  const int64_t size = task.pixels * task.block;
  const int64_t parts = task.rows * task.blocks;
  ForEach(parts, parts * size, [&](int64_t part) {
    const int64_t first = part % task.blocks * task.block;
    AffineOfBlock(task.block, task.from + part * size, task.to + part * size, task.pixels,
                  task.scale.data.get() + first, task.shift.data.get() + first, limits);
  });
}

void RunChannels(const ChannelsTask& task) {
  const auto made = static_cast<int64_t>(task.made.size());
  const int64_t size = task.pixels * task.block;
  ForEach(task.rows * made, task.rows * made * size, [&](int64_t part) {
    const int64_t row = part / made;
    const BlockOfLanes& block = task.made[static_cast<size_t>(part % made)];
    const float* lanes[kBlockMax];
    for (size_t lane = 0; lane < block.lanes.size(); ++lane) {
      const auto [input, channel] = block.lanes[lane];
      lanes[lane] = task.from[input] + (row * task.blocks_of[input] + channel / task.block) * size +
                    channel % task.block;
    }
    CopyLanes(lanes, block.lanes.size(), task.to + (row * task.blocks + block.block) * size,
              task.pixels, task.block);
  });
}

// clang calls what is cloned otherwise than other files do, hence two.
bool AllFinite(const float* numbers, int64_t count) { return !AnyNotFinite(numbers, count); }

}  // namespace torchd
