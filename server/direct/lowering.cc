#include "server/direct/lowering.h"

#include <algorithm>
#include <map>
#include <stdexcept>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/direct/kernels.h"
#include "server/direct/placement.h"
#include "server/direct/primitives.h"

namespace torchd {
namespace {

using dnnl::algorithm;
using dnnl::memory;
using Kind = Node::Kind;
using Where = Argument::Where;
using Tag = memory::format_tag;

constexpr auto kFloat = memory::data_type::f32;
constexpr auto kInference = dnnl::prop_kind::forward_inference;
constexpr int64_t kDirectChannels = 3;  // Of an input that convolutions take as it is.

class Lowering {
 public:
  Lowering(const Network& network, PackedWeights::Store& weights)
      : network_(network),
        nodes_(network.nodes),
        weights_(weights),
        block_(BlockOfThisCpu()),
        outside_(Outside()),
        placement_(Place(network, block_, outside_)) {}

  Lowered Run() {
    for (size_t i = 0; i < nodes_.size(); ++i) Lower(i);
    for (const size_t output : network_.outputs) {
      if (nodes_[output].picture()) throw std::runtime_error("it gives a picture");
      if (outside_[output]) throw std::runtime_error("it gives what it takes");
      lowered_.outputs.push_back(
          {*placement_.offsets[output], static_cast<size_t>(CountOf(nodes_[output].dims))});
    }
    lowered_.count = placement_.count + besides_most_;
    return std::move(lowered_);
  }

 private:
  // A picture that only convolutions take, or rows, are read where they are.
  std::vector<bool> Outside() const {
    std::vector<bool> outside(nodes_.size(), false);
    for (const size_t input : network_.inputs) {
      const Node& node = nodes_[input];
      outside[input] = !node.picture() || node.channel_count() <= kDirectChannels;
    }
    for (const Node& node : nodes_) {
      for (size_t at = 0; at < node.inputs.size(); ++at) {
        const Node& input = nodes_[node.inputs[at]];
        const bool direct = node.kind == Kind::kConvolution && at == 0 && node.groups == 1;
        if (input.picture() && !direct) outside[node.inputs[at]] = false;
      }
    }
    return outside;
  }

  int64_t BlocksOf(const Node& node) const { return (node.dims[1] + block_ - 1) / block_; }

  memory::desc LayoutOf(size_t i) const {
    const Node& node = nodes_[i];
    if (!node.picture()) return {node.dims, kFloat, Tag::nc};
    if (outside_[i]) return {node.dims, kFloat, Tag::nchw};
    return {node.dims, kFloat, block_ == 16 ? Tag::nChw16c : Tag::nChw8c};
  }

  Argument Of(int id, size_t i) const {
    if (!outside_[i]) return {id, Where::kPlaced, *placement_.offsets[i], LayoutOf(i)};
    const auto at = std::find(network_.inputs.begin(), network_.inputs.end(), i);
    return {id, Where::kInput, static_cast<size_t>(at - network_.inputs.begin()), LayoutOf(i)};
  }

  // Memory that only the steps of one node use.
  Argument Beside(int id, const memory::desc& layout) {
    constexpr size_t kLine = 16;
    Argument argument = {id, Where::kPlaced, placement_.count + besides_, layout};
    besides_ += (layout.get_size() / sizeof(float) + kLine) / kLine * kLine;
    besides_most_ = std::max(besides_most_, besides_);
    return argument;
  }

  static Argument As(int id, Argument argument) {
    argument.id = id;
    return argument;
  }

  template <typename Primitive>
  void Add(const char* what, const typename Primitive::primitive_desc& made,
           std::vector<Argument> arguments) {
    if (made.scratchpad_desc().get_size() > 0) {
      arguments.push_back(Beside(DNNL_ARG_SCRATCHPAD, made.scratchpad_desc()));
    }
    const std::string shape = absl::StrJoin(arguments.back().layout.get_dims(), "x");
    lowered_.steps.push_back({absl::StrCat(what, " ", made.impl_info_str(), " ", shape),
                              Primitive(made), std::move(arguments)});
  }

  void AddReorder(const Argument& from, const Argument& to) {
    const dnnl::reorder::primitive_desc made(DirectEngine(), from.layout, DirectEngine(), to.layout,
                                             Attributes());
    Add<dnnl::reorder>("reorder", made, {As(DNNL_ARG_FROM, from), As(DNNL_ARG_TO, to)});
  }

  Argument Constant(int id, const Numbers& numbers, const memory::desc& plain,
                    const memory::desc& wanted) {
    return {id, Where::kConstant, 0, wanted, Pack(numbers, plain, wanted, weights_)};
  }

  void Lower(size_t i) {
    besides_ = 0;
    switch (nodes_[i].kind) {
      case Kind::kInput:
        return Input(i);
      case Kind::kConvolution:
        return Convolution(i);
      case Kind::kLinear:
        return Linear(i);
      case Kind::kAffine:
        return Affine(i);
      case Kind::kAdd:
        return Binary(i, algorithm::binary_add);
      case Kind::kMultiply:
        return Binary(i, algorithm::binary_mul);
      case Kind::kMaxPool:
        return Pool(i, algorithm::pooling_max);
      case Kind::kMeanPool:
        return Pool(i, nodes_[i].counts_padding ? algorithm::pooling_avg_include_padding
                                                : algorithm::pooling_avg_exclude_padding);
      case Kind::kChannels:
        return Channels(i);
      case Kind::kFlatten:
        return Flatten(i);
      case Kind::kActivation:
        return Activate(i);
    }
  }

  void Input(size_t i) {
    if (outside_[i]) return;
    const auto at = std::find(network_.inputs.begin(), network_.inputs.end(), i);
    const Argument from = {DNNL_ARG_FROM,
                           Where::kInput,
                           static_cast<size_t>(at - network_.inputs.begin()),
                           {nodes_[i].dims, kFloat, Tag::nchw}};
    AddReorder(from, Of(DNNL_ARG_TO, i));
  }

  using ConvolutionDesc = dnnl::convolution_forward::primitive_desc;

  ConvolutionDesc MakeConvolution(const Node& node, const memory::desc& from,
                                  const memory::desc& to, const dnnl::post_ops& ops) const {
    const memory::desc weights(WeightDims(node), kFloat, Tag::any);
    const memory::desc bias =
        node.bias.empty() ? memory::desc() : memory::desc({node.dims[1]}, kFloat, Tag::x);
    return {DirectEngine(),
            kInference,
            algorithm::convolution_direct,
            from,
            weights,
            bias,
            to,
            Both(node.stride),
            Between(node.dilation),
            Both(node.before),
            Both(node.after),
            Attributes(ops)};
  }

  memory::dims WeightDims(const Node& node) const {
    const int64_t in = nodes_[node.inputs[0]].dims[1];
    const int64_t out = node.dims[1];
    if (node.groups == 1) return {out, in, node.kernel[0], node.kernel[1]};
    return {node.groups, out / node.groups, in / node.groups, node.kernel[0], node.kernel[1]};
  }

  void Convolution(size_t i) {
    const Node& node = nodes_[i];
    dnnl::post_ops ops;
    if (node.adds && placement_.in_place[i]) ops.append_sum(1);
    if (node.adds && !placement_.in_place[i]) {
      ops.append_binary(algorithm::binary_add, LayoutOf(node.inputs[1]));
    }
    Append(ops, node.activation);
    const auto made = MakeConvolution(node, LayoutOf(node.inputs[0]), LayoutOf(i), ops);
    if (IsSlow(made)) return ConvolutionBetweenReorders(i);
    std::vector<Argument> arguments = WeightsOf(node, made);
    arguments.push_back(Of(DNNL_ARG_SRC, node.inputs[0]));
    if (node.adds && !placement_.in_place[i]) {
      arguments.push_back(Of(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, node.inputs[1]));
    }
    arguments.push_back(Of(DNNL_ARG_DST, i));
    Add<dnnl::convolution_forward>("convolution", made, std::move(arguments));
  }

  std::vector<Argument> WeightsOf(const Node& node, const ConvolutionDesc& made) {
    const memory::desc plain(WeightDims(node), kFloat, node.groups == 1 ? Tag::oihw : Tag::goihw);
    std::vector<Argument> arguments = {
        Constant(DNNL_ARG_WEIGHTS, node.weights, plain, made.weights_desc())};
    if (!node.bias.empty()) {
      const memory::desc bias({node.dims[1]}, kFloat, Tag::x);
      arguments.push_back(Constant(DNNL_ARG_BIAS, node.bias, bias, bias));
    }
    return arguments;
  }

  // In whatever layout it is fast, or can run at all.
  void ConvolutionBetweenReorders(size_t i) {
    const Node& node = nodes_[i];
    dnnl::post_ops ops;
    if (!node.adds) Append(ops, node.activation);
    const auto made = MakeConvolution(node, {nodes_[node.inputs[0]].dims, kFloat, Tag::any},
                                      {node.dims, kFloat, Tag::any}, ops);
    Argument from = Of(DNNL_ARG_SRC, node.inputs[0]);
    if (made.src_desc() != from.layout) {
      const Argument moved = Beside(DNNL_ARG_SRC, made.src_desc());
      AddReorder(from, moved);
      from = moved;
    }
    const bool moves = made.dst_desc() != LayoutOf(i);
    const Argument to =
        moves || node.adds ? Beside(DNNL_ARG_DST, made.dst_desc()) : Of(DNNL_ARG_DST, i);
    std::vector<Argument> arguments = WeightsOf(node, made);
    arguments.push_back(from);
    arguments.push_back(to);
    Add<dnnl::convolution_forward>("convolution", made, std::move(arguments));
    if (!node.adds) {
      if (moves) AddReorder(to, Of(DNNL_ARG_TO, i));
      return;
    }
    Argument sum = to;
    if (moves) {
      sum = Beside(DNNL_ARG_TO, LayoutOf(i));
      AddReorder(to, sum);
    }
    AddBinary(algorithm::binary_add, Of(DNNL_ARG_SRC_0, node.inputs[1]), sum, Of(DNNL_ARG_DST, i),
              node.activation);
  }

  void Linear(size_t i) {
    const Node& node = nodes_[i];
    const Node& input = nodes_[node.inputs[0]];
    dnnl::post_ops ops;
    Append(ops, node.activation);
    const memory::dims size = {node.dims[1], input.dims[1]};
    const memory::desc bias =
        node.bias.empty() ? memory::desc() : memory::desc({node.dims[1]}, kFloat, Tag::x);
    const dnnl::inner_product_forward::primitive_desc made(
        DirectEngine(), kInference, LayoutOf(node.inputs[0]), {size, kFloat, Tag::any}, bias,
        LayoutOf(i), Attributes(ops));
    std::vector<Argument> arguments = {
        Constant(DNNL_ARG_WEIGHTS, node.weights, {size, kFloat, Tag::oi}, made.weights_desc())};
    if (!node.bias.empty()) arguments.push_back(Constant(DNNL_ARG_BIAS, node.bias, bias, bias));
    arguments.push_back(Of(DNNL_ARG_SRC, node.inputs[0]));
    arguments.push_back(Of(DNNL_ARG_DST, i));
    Add<dnnl::inner_product_forward>("linear", made, std::move(arguments));
  }

  void Affine(size_t i) {
    const Node& node = nodes_[i];
    const Activation::Kind kind = node.activation.kind;
    const bool clips = kind == Activation::Kind::kNone || kind == Activation::Kind::kRelu ||
                       kind == Activation::Kind::kClip;
    const int64_t blocks = BlocksOf(node);
    const auto filled = [&](const Numbers& numbers) {
      std::vector<float> values(numbers.span().begin(), numbers.span().end());
      values.resize(static_cast<size_t>(blocks * block_), 0);
      return values;
    };
    AffineTask task = {.rows = node.dims[0],
                       .blocks = blocks,
                       .pixels = node.dims[2] * node.dims[3],
                       .block = block_,
                       .activation = clips ? node.activation : Activation()};
    const size_t from = *placement_.offsets[node.inputs[0]];
    const size_t to = *placement_.offsets[i];
    lowered_.steps.push_back({.what = absl::StrCat("affine ", absl::StrJoin(node.dims, "x")),
                              .kernel = [task, from, to, scale = filled(node.weights),
                                         shift = filled(node.bias)](const Addresses& addresses) {
                                AffineTask here = task;
                                here.from = addresses.placed + from;
                                here.to = addresses.placed + to;
                                here.scale = scale.data();
                                here.shift = shift.data();
                                RunAffine(here);
                              }});
    if (!clips) AddActivation(Of(DNNL_ARG_SRC, i), Of(DNNL_ARG_DST, i), node.activation);
  }

  void Binary(size_t i, algorithm what) {
    const Node& node = nodes_[i];
    AddBinary(what, Of(DNNL_ARG_SRC_0, node.inputs[0]), Of(DNNL_ARG_SRC_1, node.inputs[1]),
              Of(DNNL_ARG_DST, i), node.activation);
  }

  void AddBinary(algorithm what, const Argument& first, const Argument& second, const Argument& to,
                 const Activation& activation) {
    dnnl::post_ops ops;
    Append(ops, activation);
    const dnnl::binary::primitive_desc made(DirectEngine(), what, first.layout, second.layout,
                                            to.layout, Attributes(ops));
    Add<dnnl::binary>(
        "binary", made,
        {As(DNNL_ARG_SRC_0, first), As(DNNL_ARG_SRC_1, second), As(DNNL_ARG_DST, to)});
  }

  void Pool(size_t i, algorithm what) {
    const Node& node = nodes_[i];
    const dnnl::pooling_forward::primitive_desc made(
        DirectEngine(), kInference, what, LayoutOf(node.inputs[0]), LayoutOf(i), Both(node.stride),
        Both(node.kernel), Between(node.dilation), Both(node.before), Both(node.after),
        Attributes());
    Add<dnnl::pooling_forward>("pool", made,
                               {Of(DNNL_ARG_SRC, node.inputs[0]), Of(DNNL_ARG_DST, i)});
  }

  void Channels(size_t i) {
    const Node& node = nodes_[i];
    if (placement_.copied[i].empty()) return;  // All lie where they belong.
    std::map<int64_t, BlockOfLanes> made;
    for (const ChannelRun& run : placement_.copied[i]) {
      for (int64_t at = 0; at < run.count; ++at) {
        const int64_t block = (run.to + at) / block_;
        made[block].block = block;
        made[block].lanes.push_back({run.input, run.from + at});
      }
    }
    std::vector<BlockOfLanes> blocks;
    blocks.reserve(made.size());
    for (auto& [block, lanes] : made) blocks.push_back(std::move(lanes));
    ChannelsTask task = {.rows = node.dims[0],
                         .blocks = BlocksOf(node),
                         .pixels = node.dims[2] * node.dims[3],
                         .block = block_};
    std::vector<size_t> from;
    for (const size_t input : node.inputs) {
      from.push_back(*placement_.offsets[input]);
      task.blocks_of.push_back(BlocksOf(nodes_[input]));
    }
    lowered_.steps.push_back({.what = absl::StrCat("channels ", absl::StrJoin(node.dims, "x")),
                              .kernel = [task, from = std::move(from), to = *placement_.offsets[i],
                                         kept = std::move(blocks)](const Addresses& addresses) {
                                ChannelsTask here = task;
                                for (const size_t at : from)
                                  here.from.push_back(addresses.placed + at);
                                here.to = addresses.placed + to;
                                here.made = &kept;
                                RunChannels(here);
                              }});
  }

  void Flatten(size_t i) {
    const Node& node = nodes_[i];
    Argument to = Of(DNNL_ARG_TO, i);
    to.layout = {nodes_[node.inputs[0]].dims, kFloat, Tag::nchw};
    AddReorder(Of(DNNL_ARG_FROM, node.inputs[0]), to);
  }

  void Activate(size_t i) {
    const Node& node = nodes_[i];
    AddActivation(Of(DNNL_ARG_SRC, node.inputs[0]), Of(DNNL_ARG_DST, i), node.activation);
  }

  void AddActivation(const Argument& from, const Argument& to, const Activation& activation) {
    dnnl::post_ops one;
    Append(one, activation);
    algorithm what = algorithm::undef;
    float alpha = 0;
    float beta = 0;
    one.get_params_eltwise(0, what, alpha, beta);
    const dnnl::eltwise_forward::primitive_desc made(DirectEngine(), kInference, what, from.layout,
                                                     to.layout, alpha, beta, Attributes());
    Add<dnnl::eltwise_forward>("activation", made, {from, to});
  }

  const Network& network_;
  const std::vector<Node>& nodes_;
  PackedWeights::Store& weights_;
  const int64_t block_;
  const std::vector<bool> outside_;
  const Placement placement_;
  Lowered lowered_;
  size_t besides_ = 0;
  size_t besides_most_ = 0;
};

}  // namespace

Lowered Lower(const Network& network, PackedWeights::Store& weights) {
  return Lowering(network, weights).Run();
}

}  // namespace torchd
