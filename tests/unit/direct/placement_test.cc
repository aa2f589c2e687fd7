#include "server/direct/placement.h"

#include <algorithm>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/direct/make_network.h"

namespace torchd {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;
using Kind = Node::Kind;

constexpr int64_t kBlock = 16;
constexpr size_t kPixels = 16;

std::vector<bool> InputsOutside(const Network& network) {
  std::vector<bool> outside(network.nodes.size(), false);
  for (const size_t input : network.inputs) outside[input] = true;
  return outside;
}

Placement PlaceAll(const Network& network) {
  return Place(network, kBlock, InputsOutside(network));
}

// Two convolutions of one input, joined: where they lie.
struct Joined {
  Joined(int64_t first_channels, int64_t second_channels, int64_t rows = 1) {
    NetworkMaker make(rows);
    const size_t input = make.Input(3);
    first = make.Convolution(input, first_channels);
    second = make.Convolution(input, second_channels);
    joined = make.Join({first, second});
    placement = PlaceAll(make.Take({joined}));
  }

  size_t first;
  size_t second;
  size_t joined;
  Placement placement;
};

TEST(PlacementTest, WhatIsJoinedIsWrittenThere) {
  const auto [first, second, joined, placement] = Joined(32, 20);
  EXPECT_THAT(placement.copied[joined], IsEmpty());
  EXPECT_EQ(*placement.offsets[first], *placement.offsets[joined]);
  EXPECT_EQ(*placement.offsets[second], *placement.offsets[joined] + 32 * kPixels);
  EXPECT_EQ(placement.count, 64 * kPixels);
}

TEST(PlacementTest, AGrowingJoinIsNeverCopied) {
  NetworkMaker make;
  std::vector<size_t> pieces = {make.Convolution(make.Input(3), 64)};
  std::vector<size_t> joins;
  for (int layer = 0; layer < 5; ++layer) {
    joins.push_back(make.Join(pieces));
    pieces.push_back(make.Convolution(make.Affine(joins.back(), 1, 0), 32));
  }
  joins.push_back(make.Join(pieces));
  const Network network = Simplified(make.Take({joins.back()}));
  const Placement placement = PlaceAll(network);
  for (const auto& copied : placement.copied) EXPECT_THAT(copied, IsEmpty());
}

TEST(PlacementTest, WhatDoesNotFitIsCopied) {
  const Joined two(20, 32);
  EXPECT_THAT(two.placement.copied[two.joined], SizeIs(2));
}

TEST(PlacementTest, SeveralRowsAreCopied) {
  const Joined two(32, 32, /*rows=*/2);
  EXPECT_THAT(two.placement.copied[two.joined], SizeIs(2));
}

TEST(PlacementTest, ASumTakesTheAddendsPlaceIfNobodyNeedsItLater) {
  for (const bool needed : {false, true}) {
    NetworkMaker make;
    const size_t addend = make.Convolution(make.Input(3), 32);
    const size_t active = make.Relu(addend);
    const size_t sum = make.Add(make.Convolution(make.Convolution(active, 32), 32), active);
    const size_t later = needed ? make.Add(make.Relu(sum), active) : make.Relu(sum);
    const Network network = Simplified(make.Take({later}));
    const Placement placement = PlaceAll(network);
    const auto in_place = std::count(placement.in_place.begin(), placement.in_place.end(), true);
    EXPECT_EQ(in_place, needed ? 0 : 1);
  }
}

// A network at random, run by numbers that name who wrote them, in the memory that was planned:
// each node must find what it takes as it was made.
class Simulation {
 public:
  Simulation(const Network& network, const Placement& placement)
      : network_(network), placement_(placement), memory_(placement.count, -1) {}

  // The first node that finds something else than it should; none: -1.
  int Run() {
    for (size_t i = 0; i < network_.nodes.size(); ++i) {
      const Node& node = network_.nodes[i];
      if (node.kind == Kind::kInput) continue;
      if (node.kind == Kind::kChannels) {
        if (!Assemble(i)) return static_cast<int>(i);
        continue;
      }
      for (const size_t input : node.inputs) {
        if (!Intact(input)) return static_cast<int>(i);
      }
      for (int64_t channel = 0; channel < PaddedChannels(node); ++channel) {
        Write(i, channel, channel < node.dims[1] ? Mark(i, channel) : 0);
      }
    }
    for (const size_t output : network_.outputs) {
      if (!Intact(output)) return static_cast<int>(output);
    }
    return -1;
  }

 private:
  static int64_t PaddedChannels(const Node& node) { return (node.dims[1] + 15) / 16 * 16; }

  // Of channel 5 of node 3: 3006. Of what is put together, what it was put together from.
  int Mark(size_t i, int64_t channel) const {
    const Node& node = network_.nodes[i];
    if (node.kind != Kind::kChannels)
      return static_cast<int>(i) * 1000 + static_cast<int>(channel) + 1;
    const Channel& from = node.channels[static_cast<size_t>(channel)];
    return Mark(node.inputs[from.input], from.channel);
  }

  size_t AddressOf(size_t i, int64_t channel) const {
    return *placement_.offsets[i] + static_cast<size_t>(channel / 16 * 16) * kPixels +
           static_cast<size_t>(channel % 16);
  }

  void Write(size_t i, int64_t channel, int mark) {
    for (size_t pixel = 0; pixel < kPixels; ++pixel) {
      memory_.at(AddressOf(i, channel) + pixel * 16) = mark;
    }
  }

  bool Intact(size_t i) const {
    const Node& node = network_.nodes[i];
    if (node.kind == Kind::kInput) return true;
    for (int64_t channel = 0; channel < PaddedChannels(node); ++channel) {
      const int wanted = channel < node.dims[1] ? Mark(i, channel) : 0;
      if (memory_.at(AddressOf(i, channel)) != wanted) return false;
    }
    return true;
  }

  bool Assemble(size_t i) {
    const Node& node = network_.nodes[i];
    for (const size_t input : node.inputs) {
      if (!Intact(input)) return false;
    }
    for (const ChannelRun& run : placement_.copied[i]) {
      for (int64_t at = 0; at < run.count; ++at) {
        Write(i, run.to + at, Mark(node.inputs[run.input], run.from + at));
      }
      const bool ends = run.to + run.count == node.dims[1];
      for (int64_t at = node.dims[1]; ends && at < PaddedChannels(node); ++at) Write(i, at, 0);
    }
    return Intact(i);
  }

  const Network& network_;
  const Placement& placement_;
  std::vector<int> memory_;
};

TEST(PlacementPropertyTest, NobodyOverwritesWhatIsNeededStill) {
  std::mt19937 random(11);
  const auto pick = [&](size_t below) { return static_cast<size_t>(random() % below); };
  int in_place = 0;
  int placed = 0;
  for (int round = 0; round < 3000; ++round) {
    NetworkMaker make;
    make.Convolution(make.Input(3), 32);
    const auto any = [&] { return 1 + pick(make.count() - 1); };
    const int nodes = 2 + static_cast<int>(pick(14));
    for (int i = 0; i < nodes; ++i) {
      const int64_t widths[] = {16, 20, 32, 32, 48};
      switch (pick(5)) {
        case 0:
          make.Relu(any());
          break;
        case 1: {
          const size_t addend = any();
          make.Add(make.Convolution(any(), make.ChannelsOf(addend)), addend);
          break;
        }
        case 2:
          make.Join({any(), any()});
          break;
        case 3: {
          const size_t from = any();
          const auto count =
              static_cast<int64_t>(1 + pick(static_cast<size_t>(make.ChannelsOf(from))));
          std::vector<Channel> channels;
          for (int64_t at = make.ChannelsOf(from) - count; at < make.ChannelsOf(from); ++at) {
            channels.push_back({0, at});
          }
          make.Channels({from}, channels);
          break;
        }
        default:
          make.Convolution(any(), widths[pick(5)]);
      }
    }
    const size_t last = make.count() - 1;
    const Network network = Simplified(make.Take({last, any()}));
    const Placement placement = PlaceAll(network);
    EXPECT_EQ(Simulation(network, placement).Run(), -1) << "round " << round;
    for (size_t i = 0; i < network.nodes.size(); ++i) {
      in_place += placement.in_place[i] ? 1 : 0;
      placed += network.nodes[i].kind == Kind::kChannels && placement.copied[i].empty() ? 1 : 0;
    }
  }
  EXPECT_GT(in_place, 300);
  EXPECT_GT(placed, 300);
}

}  // namespace
}  // namespace torchd
