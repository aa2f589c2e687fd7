// What oneDNN has no primitive for, on pictures in blocks of channels (placement.h).
#pragma once

#include <cstdint>
#include <vector>

#include "server/direct/network.h"

namespace torchd {

// Each channel times `scale` plus `shift`, then `activation`: none, kRelu or kClip. `scale` and
// `shift` have as many numbers as there are channels with those that fill the last block.
struct AffineTask {
  const float* from = nullptr;
  float* to = nullptr;
  int64_t rows = 1;
  int64_t blocks = 1;
  int64_t pixels = 1;
  int64_t block = 1;
  Numbers scale = {};
  Numbers shift = {};
  Activation activation = {};
};
void RunAffine(const AffineTask& task);

// One block of a picture's channels, put together from channels that lie anywhere.
struct Lane {
  size_t input = 0;  // Of the node's inputs.
  int64_t channel = 0;
};
struct BlockOfLanes {
  int64_t block = 0;        // Of the result.
  std::vector<Lane> lanes;  // Fewer than a block has: the rest is 0.
};
struct ChannelsTask {
  std::vector<const float*> from = {};  // By input.
  std::vector<int64_t> blocks_of = {};  // By input.
  float* to = nullptr;
  int64_t rows = 1;
  int64_t blocks = 1;
  int64_t pixels = 1;
  int64_t block = 1;
  std::vector<BlockOfLanes> made = {};
};
void RunChannels(const ChannelsTask& task);

// None of them infinite or not a number.
bool AllFinite(const float* numbers, int64_t count);

}  // namespace torchd
