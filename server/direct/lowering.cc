#include "server/direct/lowering.h"

#include <map>
#include <stdexcept>

#include "server/direct/kernels.h"
#include "server/direct/layouts.h"
#include "server/direct/primitives.h"

namespace torchd {
namespace {

using dnnl::algorithm;
using dnnl::memory;
using Kind = Node::Kind;
using Tag = memory::format_tag;

constexpr auto kFloat = memory::data_type::f32;
constexpr auto kInference = dnnl::prop_kind::forward_inference;

class Lowering {
 public:
  Lowering(const Network& network, PackedWeights::Store& weights)
      : network_(network), nodes_(network.nodes), weights_(weights), layouts_(network) {}

  Lowered Run() {
    for (size_t i = 0; i < nodes_.size(); ++i) Lower(i);
    for (const size_t output : network_.outputs) {
      if (nodes_[output].picture()) throw std::runtime_error("it gives a picture");
      if (layouts_.IsOutside(output)) throw std::runtime_error("it gives what it takes");
      lowered_.outputs.push_back(
          {layouts_.OffsetOf(output), static_cast<size_t>(CountOf(nodes_[output].dims))});
    }
    lowered_.count = layouts_.count();
    return std::move(lowered_);
  }

 private:
  template <typename Primitive>
  void Add(const typename Primitive::primitive_desc& made, std::vector<Argument> arguments) {
    if (made.scratchpad_desc().get_size() > 0) {
      arguments.push_back(layouts_.Beside(DNNL_ARG_SCRATCHPAD, made.scratchpad_desc()));
    }
    lowered_.steps.push_back({Primitive(made), std::move(arguments)});
  }

  // `run` in the memory of a run; `placed` says where the task finds what it needs there.
  template <typename Task, typename Placed>
  void AddKernel(void (*run)(const Task&), Task task, Placed placed) {
    lowered_.steps.push_back(
        {.bind = [run, placed, task = std::move(task)](float* memory) -> Step::Kernel {
          Task here = task;
          placed(here, memory);
          return [run, here = std::move(here)] { run(here); };
        }});
  }

  void AddReorder(const Argument& from, const Argument& to) {
    const dnnl::reorder::primitive_desc made(DirectEngine(), from.layout, DirectEngine(), to.layout,
                                             Attributes());
    Add<dnnl::reorder>(made, {from.As(DNNL_ARG_FROM), to.As(DNNL_ARG_TO)});
  }

  Argument Constant(int id, const Numbers& numbers, const memory::desc& plain,
                    const memory::desc& wanted) {
    return {id, Argument::Where::kConstant, 0, wanted, Pack(numbers, plain, wanted, weights_)};
  }

  static memory::desc BiasLayout(const Node& node) {
    if (node.bias.empty()) return {};
    return {{node.channel_count()}, kFloat, Tag::x};
  }

  // And the bias, if there is one.
  std::vector<Argument> WeightsOf(const Node& node, const memory::desc& plain,
                                  const memory::desc& wanted) {
    std::vector<Argument> arguments = {Constant(DNNL_ARG_WEIGHTS, node.weights, plain, wanted)};
    const memory::desc bias = BiasLayout(node);
    if (!node.bias.empty()) arguments.push_back(Constant(DNNL_ARG_BIAS, node.bias, bias, bias));
    return arguments;
  }

  void Lower(size_t i) {
    layouts_.BeginNode();
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
    if (layouts_.IsOutside(i)) return;
    AddReorder(layouts_.Given(DNNL_ARG_FROM, i), layouts_.Of(DNNL_ARG_TO, i));
  }

  using ConvolutionDesc = dnnl::convolution_forward::primitive_desc;

  ConvolutionDesc MakeConvolution(const Node& node, const memory::desc& from,
                                  const memory::desc& to, const dnnl::post_ops& ops) const {
    const memory::desc weights(WeightDims(node), kFloat, Tag::any);
    return {DirectEngine(),
            kInference,
            algorithm::convolution_direct,
            from,
            weights,
            BiasLayout(node),
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
    const bool in_place = layouts_.placement().in_place[i];
    dnnl::post_ops ops;
    if (node.adds && in_place) ops.append_sum(1);
    if (node.adds && !in_place) {
      ops.append_binary(algorithm::binary_add, layouts_.LayoutOf(node.inputs[1]));
    }
    Append(ops, node.activation);
    const auto made =
        MakeConvolution(node, layouts_.LayoutOf(node.inputs[0]), layouts_.LayoutOf(i), ops);
    if (IsSlow(made)) return ConvolutionBetweenReorders(i);
    std::vector<Argument> arguments = WeightsOf(node, PlainWeights(node), made.weights_desc());
    arguments.push_back(layouts_.Of(DNNL_ARG_SRC, node.inputs[0]));
    if (node.adds && !in_place) {
      arguments.push_back(
          layouts_.Of(DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, node.inputs[1]));
    }
    arguments.push_back(layouts_.Of(DNNL_ARG_DST, i));
    Add<dnnl::convolution_forward>(made, std::move(arguments));
  }

  memory::desc PlainWeights(const Node& node) const {
    return {WeightDims(node), kFloat, node.groups == 1 ? Tag::oihw : Tag::goihw};
  }

  // In whatever layout it is fast, or can run at all.
  void ConvolutionBetweenReorders(size_t i) {
    const Node& node = nodes_[i];
    dnnl::post_ops ops;
    if (!node.adds) Append(ops, node.activation);
    const auto made = MakeConvolution(node, {nodes_[node.inputs[0]].dims, kFloat, Tag::any},
                                      {node.dims, kFloat, Tag::any}, ops);
    Argument from = layouts_.Of(DNNL_ARG_SRC, node.inputs[0]);
    if (made.src_desc() != from.layout) {
      const Argument moved = layouts_.Beside(DNNL_ARG_SRC, made.src_desc());
      AddReorder(from, moved);
      from = moved;
    }
    const bool moves = made.dst_desc() != layouts_.LayoutOf(i);
    const Argument to = moves || node.adds ? layouts_.Beside(DNNL_ARG_DST, made.dst_desc())
                                           : layouts_.Of(DNNL_ARG_DST, i);
    std::vector<Argument> arguments = WeightsOf(node, PlainWeights(node), made.weights_desc());
    arguments.push_back(from);
    arguments.push_back(to);
    Add<dnnl::convolution_forward>(made, std::move(arguments));
    if (!node.adds) {
      if (moves) AddReorder(to, layouts_.Of(DNNL_ARG_TO, i));
      return;
    }
    Argument sum = to;
    if (moves) {
      sum = layouts_.Beside(DNNL_ARG_TO, layouts_.LayoutOf(i));
      AddReorder(to, sum);
    }
    AddBinary(algorithm::binary_add, layouts_.Of(DNNL_ARG_SRC_0, node.inputs[1]), sum,
              layouts_.Of(DNNL_ARG_DST, i), node.activation);
  }

  void Linear(size_t i) {
    const Node& node = nodes_[i];
    const Node& input = nodes_[node.inputs[0]];
    dnnl::post_ops ops;
    Append(ops, node.activation);
    const memory::dims size = {node.dims[1], input.dims[1]};
    const dnnl::inner_product_forward::primitive_desc made(
        DirectEngine(), kInference, layouts_.LayoutOf(node.inputs[0]), {size, kFloat, Tag::any},
        BiasLayout(node), layouts_.LayoutOf(i), Attributes(ops));
    std::vector<Argument> arguments = WeightsOf(node, {size, kFloat, Tag::oi}, made.weights_desc());
    arguments.push_back(layouts_.Of(DNNL_ARG_SRC, node.inputs[0]));
    arguments.push_back(layouts_.Of(DNNL_ARG_DST, i));
    Add<dnnl::inner_product_forward>(made, std::move(arguments));
  }

  void Affine(size_t i) {
    const Node& node = nodes_[i];
    const Activation::Kind kind = node.activation.kind;
    const bool clips = kind == Activation::Kind::kNone || kind == Activation::Kind::kRelu ||
                       kind == Activation::Kind::kClip;
    const int64_t block = layouts_.block();
    const int64_t blocks = BlocksOf(node, block);
    const auto filled = [&](const Numbers& numbers) {
      std::vector<float> values(numbers.span().begin(), numbers.span().end());
      values.resize(static_cast<size_t>(blocks * block), 0);
      return Own(std::move(values));
    };
    AddKernel<AffineTask>(&RunAffine,
                          {.rows = node.dims[0],
                           .blocks = blocks,
                           .pixels = node.dims[2] * node.dims[3],
                           .block = block,
                           .scale = filled(node.weights),
                           .shift = filled(node.bias),
                           .activation = clips ? node.activation : Activation()},
                          [from = layouts_.OffsetOf(node.inputs[0]), to = layouts_.OffsetOf(i)](
                              AffineTask& here, float* placed) {
                            here.from = placed + from;
                            here.to = placed + to;
                          });
    if (clips) return;
    AddActivation(layouts_.Of(DNNL_ARG_SRC, i), layouts_.Of(DNNL_ARG_DST, i), node.activation);
  }

  void Binary(size_t i, algorithm what) {
    const Node& node = nodes_[i];
    AddBinary(what, layouts_.Of(DNNL_ARG_SRC_0, node.inputs[0]),
              layouts_.Of(DNNL_ARG_SRC_1, node.inputs[1]), layouts_.Of(DNNL_ARG_DST, i),
              node.activation);
  }

  void AddBinary(algorithm what, const Argument& first, const Argument& second, const Argument& to,
                 const Activation& activation) {
    dnnl::post_ops ops;
    Append(ops, activation);
    const dnnl::binary::primitive_desc made(DirectEngine(), what, first.layout, second.layout,
                                            to.layout, Attributes(ops));
    Add<dnnl::binary>(made,
                      {first.As(DNNL_ARG_SRC_0), second.As(DNNL_ARG_SRC_1), to.As(DNNL_ARG_DST)});
  }

  void Pool(size_t i, algorithm what) {
    const Node& node = nodes_[i];
    const dnnl::pooling_forward::primitive_desc made(
        DirectEngine(), kInference, what, layouts_.LayoutOf(node.inputs[0]), layouts_.LayoutOf(i),
        Both(node.stride), Both(node.kernel), Between(node.dilation), Both(node.before),
        Both(node.after), Attributes());
    Add<dnnl::pooling_forward>(
        made, {layouts_.Of(DNNL_ARG_SRC, node.inputs[0]), layouts_.Of(DNNL_ARG_DST, i)});
  }

  void Channels(size_t i) {
    const Node& node = nodes_[i];
    const std::vector<ChannelRun>& copied = layouts_.placement().copied[i];
    if (copied.empty()) return;  // All lie where they belong.
    const int64_t block = layouts_.block();
    std::map<int64_t, BlockOfLanes> made;
    for (const ChannelRun& run : copied) {
      for (int64_t at = 0; at < run.count; ++at) {
        BlockOfLanes& lanes = made[(run.to + at) / block];
        lanes.block = (run.to + at) / block;
        lanes.lanes.push_back({run.input, run.from + at});
      }
    }
    ChannelsTask task = {.rows = node.dims[0],
                         .blocks = BlocksOf(node, block),
                         .pixels = node.dims[2] * node.dims[3],
                         .block = block};
    for (auto& [at, lanes] : made) task.made.push_back(std::move(lanes));
    std::vector<size_t> from;
    for (const size_t input : node.inputs) {
      from.push_back(layouts_.OffsetOf(input));
      task.blocks_of.push_back(BlocksOf(nodes_[input], block));
    }
    AddKernel<ChannelsTask>(
        &RunChannels, std::move(task),
        [from = std::move(from), to = layouts_.OffsetOf(i)](ChannelsTask& here, float* placed) {
          for (const size_t at : from) here.from.push_back(placed + at);
          here.to = placed + to;
        });
  }

  void Flatten(size_t i) {
    const Node& node = nodes_[i];
    Argument to = layouts_.Of(DNNL_ARG_TO, i);
    to.layout = {nodes_[node.inputs[0]].dims, kFloat, Tag::nchw};
    AddReorder(layouts_.Of(DNNL_ARG_FROM, node.inputs[0]), to);
  }

  void Activate(size_t i) {
    const Node& node = nodes_[i];
    AddActivation(layouts_.Of(DNNL_ARG_SRC, node.inputs[0]), layouts_.Of(DNNL_ARG_DST, i),
                  node.activation);
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
    Add<dnnl::eltwise_forward>(made, {from, to});
  }

  const Network& network_;
  const std::vector<Node>& nodes_;
  PackedWeights::Store& weights_;
  Layouts layouts_;
  Lowered lowered_;
};

}  // namespace

Lowered Lower(const Network& network, PackedWeights::Store& weights) {
  return Lowering(network, weights).Run();
}

}  // namespace torchd
