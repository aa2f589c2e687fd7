// A classifier as a list of operations on pictures and rows of numbers, for one shape of its input.
// Pure code: it knows neither LibTorch, which it is read from, nor oneDNN, which runs it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"

namespace torchd {

using Dims = std::vector<int64_t>;
using Pair = std::array<int64_t, 2>;  // Of height and width.

int64_t CountOf(const Dims& dims);

// Numbers that somebody keeps alive.
struct Numbers {
  std::shared_ptr<const float> data;
  size_t count = 0;

  bool empty() const { return count == 0; }
  absl::Span<const float> span() const { return {data.get(), count}; }
};
Numbers Own(std::vector<float> values);

struct Activation {
  enum class Kind { kNone, kRelu, kClip, kSigmoid, kHardSigmoid, kSwish, kHardSwish, kGelu };
  Kind kind = Kind::kNone;
  float low = 0;  // Of kClip.
  float high = 0;

  bool none() const { return kind == Kind::kNone; }
  // What pads the channels of a picture stays 0.
  bool KeepsZero() const;
};

// Where a channel comes from: of which of its node's inputs, and which one there.
struct Channel {
  size_t input = 0;
  int64_t channel = 0;

  friend bool operator==(const Channel& a, const Channel& b) {
    return a.input == b.input && a.channel == b.channel;
  }
};

struct Node {
  enum class Kind {
    kInput,
    kConvolution,
    kLinear,    // Of rows.
    kAffine,    // Each channel times `weights` plus `bias`.
    kAdd,       // Two of equal size.
    kMultiply,  // The second may have one number a channel.
    kMaxPool,
    kMeanPool,
    kChannels,  // Any choice of channels of its inputs.
    kFlatten,   // A picture to a row.
    kActivation,
  };

  Kind kind = Kind::kInput;
  std::vector<size_t> inputs = {};
  Dims dims = {};  // Of the output: rows, channels, height, width; or rows, numbers.
  // Of windows.
  Pair kernel = {1, 1};
  Pair stride = {1, 1};
  Pair dilation = {1, 1};
  Pair before = {0, 0};  // Padding.
  Pair after = {0, 0};
  int64_t groups = 1;
  bool counts_padding = true;  // kMeanPool.

  Numbers weights = {};
  Numbers bias = {};
  bool adds = false;  // The last input to the result, before the activation.
  Activation activation = {};
  std::vector<Channel> channels = {};  // kChannels.

  int64_t channel_count() const { return dims[1]; }
  bool picture() const { return dims.size() == 4; }
};

// Nodes come after what they take.
struct Network {
  std::vector<Node> nodes;
  std::vector<size_t> inputs;
  std::vector<size_t> outputs;
};

// The same answers from fewer operations: scales go into the convolution before, activations and
// sums to what makes their input, choices of channels refer to what made these; what nobody needs
// is gone.
Network Simplified(Network network);

}  // namespace torchd
