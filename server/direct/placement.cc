#include "server/direct/placement.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace torchd {
namespace {

using Kind = Node::Kind;

// Part of a buffer.
struct Spot {
  size_t buffer = 0;
  size_t offset = 0;
};

struct Buffer {
  size_t count = 0;
  size_t first = 0;  // Node that writes it.
  size_t last = 0;   // Node that reads it.
  size_t offset = 0;
};

class Placer {
 public:
  Placer(const Network& network, int64_t block, const std::vector<bool>& outside)
      : nodes_(network.nodes), block_(block), outside_(outside), last_use_(nodes_.size()) {
    for (size_t i = 0; i < nodes_.size(); ++i) {
      last_use_[i] = i;
      for (const size_t input : nodes_[i].inputs) last_use_[input] = i;
    }
    for (const size_t output : network.outputs) last_use_[output] = nodes_.size();
    places_.resize(nodes_.size());
    placement_.offsets.resize(nodes_.size());
    placement_.in_place.resize(nodes_.size(), false);
    placement_.copied.resize(nodes_.size());
  }

  Placement Run() {
    for (size_t i = nodes_.size(); i-- > 0;) {  // The longest of a chain is put together last.
      if (nodes_[i].kind == Kind::kChannels) PutTogether(i);
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (outside_[i] || places_[i]) continue;
      if (!TakeAddendsPlace(i)) OwnBuffer(i);
    }
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (!places_[i]) continue;
      Buffer& buffer = buffers_[places_[i]->buffer];
      buffer.first = std::min(buffer.first, i);
      buffer.last = std::max(buffer.last, last_use_[i]);
    }
    Pack();
    for (size_t i = 0; i < nodes_.size(); ++i) {
      if (places_[i]) {
        placement_.offsets[i] = buffers_[places_[i]->buffer].offset + places_[i]->offset;
      }
    }
    return std::move(placement_);
  }

 private:
  size_t NewBuffer(size_t count) {
    buffers_.push_back({.count = count, .first = nodes_.size()});
    return buffers_.size() - 1;
  }

  void OwnBuffer(size_t i) { places_[i] = Spot{NewBuffer(PlacedCount(nodes_[i], block_)), 0}; }

  size_t PixelsOf(const Node& node) const {
    return static_cast<size_t>(node.dims[2] * node.dims[3]);
  }

  // All of an input, at a block's beginning: then only is it one piece of memory.
  bool Fits(const Node& node, const ChannelRun& run) const {
    const Node& input = nodes_[node.inputs[run.input]];
    const bool ends_node = run.to + run.count == node.channel_count();
    return node.dims[0] == 1 && run.from == 0 && run.count == input.channel_count() &&
           run.to % block_ == 0 && (run.count % block_ == 0 || ends_node);
  }

  size_t OffsetOf(const Node& node, const ChannelRun& run) const {
    return static_cast<size_t>(run.to) * PixelsOf(node);
  }

  void PutTogether(size_t i) {
    const Node& node = nodes_[i];
    const std::vector<ChannelRun> runs = RunsOf(node);
    if (Already(node, runs)) {
      const Spot first = *places_[node.inputs[runs[0].input]];
      places_[i] = first;
      return;
    }
    OwnBuffer(i);
    for (const ChannelRun& run : runs) {
      const size_t input = node.inputs[run.input];
      const bool own = !outside_[input] && !places_[input] && nodes_[input].kind != Kind::kFlatten;
      if (own && Fits(node, run)) {
        places_[input] = Spot{places_[i]->buffer, OffsetOf(node, run)};
      } else {
        placement_.copied[i].push_back(run);
      }
    }
  }

  // They lie side by side where a longer one was put together.
  bool Already(const Node& node, const std::vector<ChannelRun>& runs) const {
    const auto& first = places_[node.inputs[runs[0].input]];
    if (!first) return false;
    return std::all_of(runs.begin(), runs.end(), [&](const ChannelRun& run) {
      const auto& place = places_[node.inputs[run.input]];
      return place && Fits(node, run) && place->buffer == first->buffer &&
             place->offset == first->offset + OffsetOf(node, run);
    });
  }

  bool TakeAddendsPlace(size_t i) {
    const Node& node = nodes_[i];
    if (node.kind != Kind::kConvolution || !node.adds) return false;
    const size_t addend = node.inputs[1];
    const bool free_then = addend != node.inputs[0] && !outside_[addend] && places_[addend] &&
                           last_use_[addend] == i && nodes_[addend].kind != Kind::kChannels &&
                           nodes_[addend].kind != Kind::kFlatten && !Shared(addend);
    if (!free_then) return false;
    places_[i] = places_[addend];
    placement_.in_place[i] = true;
    return true;
  }

  // Others than those whose place it took lie there too.
  bool Shared(size_t i) const {
    const size_t buffer = places_[i]->buffer;
    for (size_t other = 0; other < nodes_.size(); ++other) {
      if (other == i || !places_[other] || places_[other]->buffer != buffer) continue;
      if (nodes_[other].kind == Kind::kChannels || last_use_[other] > i) return true;
    }
    return false;
  }

  // First fit, the largest first.
  void Pack() {
    std::vector<size_t> order(buffers_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [this](size_t a, size_t b) { return buffers_[a].count > buffers_[b].count; });
    std::vector<size_t> packed;
    for (const size_t at : order) {
      Buffer& buffer = buffers_[at];
      std::vector<std::pair<size_t, size_t>> taken;
      for (const size_t other : packed) {
        const Buffer& there = buffers_[other];
        if (there.first <= buffer.last && buffer.first <= there.last) {
          taken.emplace_back(there.offset, there.offset + there.count);
        }
      }
      std::sort(taken.begin(), taken.end());
      size_t offset = 0;
      for (const auto& [begin, end] : taken) {
        if (offset + buffer.count <= begin) break;
        offset = std::max(offset, end);
      }
      buffer.offset = offset;
      placement_.count = std::max(placement_.count, offset + buffer.count);
      packed.push_back(at);
    }
  }

  const std::vector<Node>& nodes_;
  const int64_t block_;
  const std::vector<bool>& outside_;
  std::vector<size_t> last_use_;
  std::vector<std::optional<Spot>> places_;
  std::vector<Buffer> buffers_;
  Placement placement_;
};

}  // namespace

std::vector<ChannelRun> RunsOf(const Node& node) {
  std::vector<ChannelRun> runs;
  for (size_t at = 0; at < node.channels.size(); ++at) {
    const Channel& channel = node.channels[at];
    if (!runs.empty() && runs.back().input == channel.input &&
        runs.back().from + runs.back().count == channel.channel) {
      ++runs.back().count;
    } else {
      runs.push_back({channel.input, channel.channel, static_cast<int64_t>(at), 1});
    }
  }
  return runs;
}

int64_t BlocksOf(const Node& picture, int64_t block) {
  return RoundUp(picture.channel_count(), block) / block;
}

size_t PlacedCount(const Node& node, int64_t block) {
  int64_t count = CountOf(node.dims);
  if (node.picture()) count = count / node.channel_count() * BlocksOf(node, block) * block;
  return static_cast<size_t>(RoundUp(count, kPlaceAlignment));
}

Placement Place(const Network& network, int64_t block, const std::vector<bool>& outside) {
  return Placer(network, block, outside).Run();
}

}  // namespace torchd
