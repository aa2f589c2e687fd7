#include "server/direct/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "absl/functional/function_ref.h"

// From the libgomp that LibTorch and oneDNN use: the same team runs all. Its pragma would do the
// same, in g++ only.
extern "C" {
// NOLINTNEXTLINE(readability-identifier-naming): its name there.
void GOMP_parallel(void (*run)(void*), void* data, unsigned threads, unsigned flags);
int omp_get_thread_num();
int omp_get_num_threads();
}

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

TORCHD_FOR_EACH_CPU
void AffineOf16(const float* from, float* to, int64_t pixels, const float* scale,
                const float* shift, float low, float high) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    for (int lane = 0; lane < 16; ++lane) {
      const float value = from[pixel * 16 + lane] * scale[lane] + shift[lane];
      const float above = value < low ? low : value;  // What is no number stays so.
      to[pixel * 16 + lane] = above > high ? high : above;
    }
  }
}

void AffineOf8(const float* from, float* to, int64_t pixels, const float* scale, const float* shift,
               float low, float high) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    for (int lane = 0; lane < 8; ++lane) {
      const float value = from[pixel * 8 + lane] * scale[lane] + shift[lane];
      const float above = value < low ? low : value;
      to[pixel * 8 + lane] = above > high ? high : above;
    }
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
  const bool clips = activation.kind == Activation::Kind::kClip;
  const float low = clips                                        ? activation.low
                    : activation.kind == Activation::Kind::kRelu ? 0
                                                                 : -INFINITY;
  const float high = clips ? activation.high : INFINITY;
  const int64_t size = task.pixels * task.block;
  const int64_t parts = task.rows * task.blocks;
  ForEach(parts, parts * size, [&](int64_t part) {
    const int64_t first = part % task.blocks * task.block;
    const auto run = task.block == 16 ? &AffineOf16 : &AffineOf8;
    run(task.from + part * size, task.to + part * size, task.pixels, task.scale + first,
        task.shift + first, low, high);
  });
}

void RunChannels(const ChannelsTask& task) {
  const auto made = static_cast<int64_t>(task.made->size());
  const int64_t size = task.pixels * task.block;
  ForEach(task.rows * made, task.rows * made * size, [&](int64_t part) {
    const int64_t row = part / made;
    const BlockOfLanes& block = (*task.made)[static_cast<size_t>(part % made)];
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

bool AllFinite(const float* numbers, int64_t count) { return !AnyNotFinite(numbers, count); }

}  // namespace torchd
