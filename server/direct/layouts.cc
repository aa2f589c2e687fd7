#include "server/direct/layouts.h"

#include <algorithm>

#include "server/direct/primitives.h"

namespace torchd {
namespace {

using dnnl::memory;
using Tag = memory::format_tag;
using Where = Argument::Where;

constexpr int64_t kDirectChannels = 3;  // Of an input that convolutions take as it is.

// A picture that only convolutions take, or rows, are read where they are.
std::vector<bool> Outside(const Network& network) {
  std::vector<bool> outside(network.nodes.size(), false);
  for (const size_t input : network.inputs) {
    const Node& node = network.nodes[input];
    outside[input] = !node.picture() || node.channel_count() <= kDirectChannels;
  }
  for (const Node& node : network.nodes) {
    for (size_t at = 0; at < node.inputs.size(); ++at) {
      const Node& input = network.nodes[node.inputs[at]];
      const bool direct = node.kind == Node::Kind::kConvolution && at == 0 && node.groups == 1;
      if (input.picture() && !direct) outside[node.inputs[at]] = false;
    }
  }
  return outside;
}

memory::desc PlainLayout(const Node& node) {
  return {node.dims, memory::data_type::f32, node.picture() ? Tag::nchw : Tag::nc};
}

}  // namespace

Layouts::Layouts(const Network& network)
    : network_(network),
      block_(BlockOfThisCpu()),
      outside_(Outside(network)),
      placement_(Place(network, block_, outside_)) {}

memory::desc Layouts::LayoutOf(size_t i) const {
  const Node& node = network_.nodes[i];
  if (outside_[i] || !node.picture()) return PlainLayout(node);
  return {node.dims, memory::data_type::f32, block_ == 16 ? Tag::nChw16c : Tag::nChw8c};
}

Argument Layouts::Of(int id, size_t i) const {
  if (outside_[i]) return Given(id, i);
  return {id, Where::kPlaced, OffsetOf(i), LayoutOf(i)};
}

Argument Layouts::Given(int id, size_t i) const {
  const auto at = std::find(network_.inputs.begin(), network_.inputs.end(), i);
  return {id, Where::kInput, static_cast<size_t>(at - network_.inputs.begin()),
          PlainLayout(network_.nodes[i])};
}

Argument Layouts::Beside(int id, const memory::desc& layout) {
  Argument argument = {id, Where::kPlaced, placement_.count + besides_, layout};
  constexpr auto kLine = static_cast<int64_t>(kPlaceAlignment * sizeof(float));
  besides_ +=
      static_cast<size_t>(RoundUp(static_cast<int64_t>(layout.get_size()), kLine)) / sizeof(float);
  besides_most_ = std::max(besides_most_, besides_);
  return argument;
}

}  // namespace torchd
