#include "server/direct/network.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <utility>

namespace torchd {
namespace {

using Kind = Node::Kind;

bool Makes(const Node& node, std::initializer_list<Kind> kinds) {
  return std::find(kinds.begin(), kinds.end(), node.kind) != kinds.end();
}

class Simplifier {
 public:
  explicit Simplifier(Network network)
      : network_(std::move(network)), now_(network_.nodes.size()), users_(network_.nodes.size()) {
    std::iota(now_.begin(), now_.end(), size_t{0});
    for (const Node& node : network_.nodes) {
      for (const size_t input : node.inputs) ++users_[input];
    }
    for (const size_t output : network_.outputs) ++users_[output];
  }

  Network Run() {
    for (size_t i = 0; i < network_.nodes.size(); ++i) {
      Node& node = network_.nodes[i];
      for (size_t& input : node.inputs) input = now_[input];
      if (node.kind == Kind::kAffine) IntoConvolution(i);
      if (node.kind == Kind::kActivation) IntoWhatMakesIt(i);
      if (node.kind == Kind::kAdd) TakeConvolution(i);
      if (node.kind == Kind::kChannels) Trace(i);
    }
    for (size_t& output : network_.outputs) output = now_[output];
    return WithoutUnused();
  }

 private:
  // `node` is what `by` makes from now on.
  void Replace(size_t node, size_t by) {
    now_[node] = by;
    users_[by] = users_[node];
  }

  // A convolution that nobody else needs, with nothing after it yet.
  bool IsBareConvolution(size_t i) const {
    const Node& node = network_.nodes[i];
    return node.kind == Kind::kConvolution && users_[i] == 1 && node.activation.none() &&
           !node.adds;
  }

  void IntoConvolution(size_t i) {
    const Node& affine = network_.nodes[i];
    if (!IsBareConvolution(affine.inputs[0])) return;
    Node& made = network_.nodes[affine.inputs[0]];
    const auto channels = static_cast<size_t>(made.channel_count());
    const size_t each = made.weights.count / channels;
    std::vector<float> weights(made.weights.span().begin(), made.weights.span().end());
    std::vector<float> bias(affine.bias.span().begin(), affine.bias.span().end());
    for (size_t channel = 0; channel < channels; ++channel) {
      const float scale = affine.weights.span()[channel];
      for (size_t at = 0; at < each; ++at) weights[channel * each + at] *= scale;
      if (!made.bias.empty()) bias[channel] += made.bias.span()[channel] * scale;
    }
    made.weights = Own(std::move(weights));
    made.bias = Own(std::move(bias));
    Replace(i, affine.inputs[0]);
  }

  void IntoWhatMakesIt(size_t i) {
    const Node& node = network_.nodes[i];
    Node& made = network_.nodes[node.inputs[0]];
    const bool takes =
        users_[node.inputs[0]] == 1 && made.activation.none() &&
        (Makes(made, {Kind::kConvolution, Kind::kLinear, Kind::kAdd, Kind::kMultiply}) ||
         (made.kind == Kind::kAffine && node.activation.KeepsZero()));
    if (!takes) return;
    made.activation = node.activation;
    Replace(i, node.inputs[0]);
  }

  // The convolution moves to where the other addend is there too.
  void TakeConvolution(size_t i) {
    Node& sum = network_.nodes[i];
    for (const size_t at :
         {std::max(sum.inputs[0], sum.inputs[1]), std::min(sum.inputs[0], sum.inputs[1])}) {
      if (!IsBareConvolution(at)) continue;
      const size_t other = sum.inputs[0] == at ? sum.inputs[1] : sum.inputs[0];
      Node moved = network_.nodes[at];
      moved.adds = true;
      moved.inputs.push_back(other);
      sum = std::move(moved);
      --users_[at];
      return;
    }
  }

  // To what made the channels, past other choices.
  void Trace(size_t i) {
    Node& node = network_.nodes[i];
    std::vector<size_t> sources;
    std::map<size_t, size_t> places;
    const auto place = [&](size_t source) {
      const auto [found, is_new] = places.emplace(source, sources.size());
      if (is_new) sources.push_back(source);
      return found->second;
    };
    for (Channel& channel : node.channels) {
      const size_t from = node.inputs[channel.input];
      const Node& source = network_.nodes[from];
      if (source.kind == Kind::kChannels) {
        const Channel& behind = source.channels[static_cast<size_t>(channel.channel)];
        channel = {place(source.inputs[behind.input]), behind.channel};
      } else {
        channel = {place(from), channel.channel};
      }
    }
    node.inputs = std::move(sources);
    if (node.inputs.size() != 1) return;
    const auto all = static_cast<size_t>(network_.nodes[node.inputs[0]].channel_count());
    if (node.channels.size() != all) return;
    for (size_t at = 0; at < all; ++at) {
      if (node.channels[at].channel != static_cast<int64_t>(at)) return;
    }
    now_[i] = node.inputs[0];
    users_[node.inputs[0]] += users_[i];  // More than there are: it takes nothing more in.
  }

  Network WithoutUnused() {
    std::vector<bool> needed(network_.nodes.size(), false);
    for (const size_t output : network_.outputs) needed[output] = true;
    for (const size_t input : network_.inputs) needed[input] = true;
    for (size_t i = network_.nodes.size(); i-- > 0;) {
      if (!needed[i]) continue;
      for (const size_t input : network_.nodes[i].inputs) needed[input] = true;
    }
    Network kept;
    std::vector<size_t> place(network_.nodes.size());
    for (size_t i = 0; i < network_.nodes.size(); ++i) {
      if (!needed[i]) continue;
      place[i] = kept.nodes.size();
      Node& node = kept.nodes.emplace_back(std::move(network_.nodes[i]));
      for (size_t& input : node.inputs) input = place[input];
    }
    for (const size_t input : network_.inputs) kept.inputs.push_back(place[input]);
    for (const size_t output : network_.outputs) kept.outputs.push_back(place[output]);
    return kept;
  }

  Network network_;
  std::vector<size_t> now_;  // What stands for a node.
  std::vector<int> users_;
};

}  // namespace

int64_t CountOf(const Dims& dims) {
  return std::accumulate(dims.begin(), dims.end(), int64_t{1}, std::multiplies<>());
}

Numbers Own(std::vector<float> values) {
  const auto kept = std::make_shared<const std::vector<float>>(std::move(values));
  return {std::shared_ptr<const float>(kept, kept->data()), kept->size()};
}

bool Activation::KeepsZero() const {
  switch (kind) {
    case Kind::kSigmoid:
    case Kind::kHardSigmoid:
      return false;
    case Kind::kClip:
      return low <= 0 && high >= 0;
    default:
      return true;
  }
}

Network Simplified(Network network) { return Simplifier(std::move(network)).Run(); }

}  // namespace torchd
