// Where a network's intermediate results lie in one piece of memory. Pure code.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "server/direct/network.h"

namespace torchd {

// Of a Kind::kChannels: channels of one input that follow each other there and here.
struct ChannelRun {
  size_t input = 0;  // Of the node's inputs.
  int64_t from = 0;  // There.
  int64_t to = 0;    // Here.
  int64_t count = 0;
};
std::vector<ChannelRun> RunsOf(const Node& node);

constexpr int64_t RoundUp(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

// Floats: a line of the cache. All places begin at one.
inline constexpr int64_t kPlaceAlignment = 16;

struct Placement {
  // For each node, of its result; none where that is not in this memory.
  std::vector<std::optional<size_t>> offsets;
  // Of Kind::kConvolution that adds: its result replaces the addend.
  std::vector<bool> in_place;
  // Of Kind::kChannels: what must still be copied.
  std::vector<std::vector<ChannelRun>> copied;
  size_t count = 0;  // Floats, all together.
};

// Pictures lie as [rows][channels / block][height][width][block], the last block filled up with 0.
int64_t BlocksOf(const Node& picture, int64_t block);
size_t PlacedCount(const Node& node, int64_t block);

// `outside`: nodes whose results are elsewhere (inputs). Results whose times overlap share no
// memory. What is put together from others is written there by them, where blocks allow it.
Placement Place(const Network& network, int64_t block, const std::vector<bool>& outside);

}  // namespace torchd
