#include "server/execution/network_symbols.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace torchd {
namespace {

using Kind = Node::Kind;
using Activate_ = Activation::Kind;

const Symbol& Picture(const Call& call, size_t i) {
  const Symbol& symbol = call.One(i);
  TORCH_CHECK(symbol.dims.size() == 4, "a picture is expected, not a tensor of ",
              symbol.dims.size(), " dimensions");
  return symbol;
}

std::vector<int64_t> Ints(const c10::IValue& value) {
  if (value.isInt()) return {value.toInt()};
  return value.toIntVector();
}

Pair PairOf(const c10::IValue& value) {
  const std::vector<int64_t> ints = Ints(value);
  TORCH_CHECK(ints.size() == 1 || ints.size() == 2, "one or two sizes are expected");
  return {ints.front(), ints.back()};
}

size_t DimOf(const Symbol& symbol, int64_t dim) {
  const auto count = static_cast<int64_t>(symbol.dims.size());
  const int64_t at = dim < 0 ? dim + count : dim;
  TORCH_CHECK(at >= 0 && at < count, "no dimension ", dim);
  return static_cast<size_t>(at);
}

Numbers Floats(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.scalar_type() == c10::kFloat, "weights of ", tensor.scalar_type());
  const at::Tensor dense = tensor.contiguous();
  // The tensor lives as long as the numbers.
  const auto kept = std::make_shared<const at::Tensor>(dense);
  return {std::shared_ptr<const float>(kept, dense.const_data_ptr<float>()),
          static_cast<size_t>(dense.numel())};
}

Numbers FloatsOf(const c10::IValue& value) {
  return value.isNone() ? Numbers() : Floats(value.toTensor());
}

bool IsNumber(const Call& call, size_t i) {
  const Operand& operand = call.At(i);
  return operand.symbols.empty() &&
         (operand.constant.isScalar() ||
          (operand.constant.isTensor() && operand.constant.toTensor().dim() == 0));
}

float NumberOf(const Call& call, size_t i) {
  const c10::IValue& value = call.Constant(i);
  return value.isTensor() ? value.toTensor().item().toFloat() : value.toScalar().toFloat();
}

void CheckNoAlpha(const Call& call) {
  TORCH_CHECK(call.operands.size() < 3 || NumberOf(call, 2) == 1, "a sum with a factor");
}

int64_t Positions(int64_t size, int64_t before, int64_t after, int64_t kernel, int64_t dilation,
                  int64_t stride) {
  const int64_t span = size + before + after - dilation * (kernel - 1) - 1;
  TORCH_CHECK(span >= 0, "a window larger than the picture");
  return span / stride + 1;
}

// Of the window's last place, when sizes that do not divide are rounded up.
int64_t PositionsRoundedUp(int64_t size, int64_t padding, int64_t kernel, int64_t dilation,
                           int64_t stride) {
  const int64_t span = size + 2 * padding - dilation * (kernel - 1) - 1;
  TORCH_CHECK(span >= 0, "a window larger than the picture");
  const int64_t positions = (span + stride - 1) / stride + 1;
  return (positions - 1) * stride >= size + padding ? positions - 1 : positions;
}

}  // namespace

const Operand& Call::At(size_t i) const {
  TORCH_CHECK(i < operands.size(), "an operand is missing");
  return operands[i];
}

const Symbol& Call::One(size_t i) const {
  TORCH_CHECK(At(i).symbols.size() == 1 && !At(i).list,
              "a tensor is expected that depends on the inputs");
  return At(i).symbols[0];
}

const c10::IValue& Call::Constant(size_t i) const {
  TORCH_CHECK(At(i).symbols.empty(), "a constant is expected");
  return At(i).constant;
}

Symbol Symbols::Input(const at::Tensor& tensor) {
  TORCH_CHECK(tensor.scalar_type() == c10::kFloat, "an input of ", tensor.scalar_type());
  TORCH_CHECK(tensor.dim() == 2 || tensor.dim() == 4, "an input of ", tensor.dim(), " dimensions");
  Node node;
  node.dims = tensor.sizes().vec();
  TORCH_CHECK(CountOf(node.dims) > 0, "an empty input");
  network_.inputs.push_back(network_.nodes.size());
  return Add(std::move(node)).symbols[0];
}

void Symbols::Output(const Symbol& symbol) {
  TORCH_CHECK(symbol.dims.size() == 2, "it gives ", symbol.dims.size(), " dimensions, not rows");
  network_.outputs.push_back(symbol.node);
}

Answer Symbols::Add(Node node) {
  const Symbol symbol = {network_.nodes.size(), node.dims};
  network_.nodes.push_back(std::move(node));
  return {{symbol}};
}

Answer Symbols::AddChannels(std::vector<size_t> inputs, std::vector<Channel> channels, Dims dims) {
  Node node;
  node.kind = Kind::kChannels;
  node.inputs = std::move(inputs);
  node.channels = std::move(channels);
  node.dims = std::move(dims);
  return Add(std::move(node));
}

Answer Symbols::Activate(const Call& call, Activation activation) {
  const Symbol& from = call.One(0);
  TORCH_CHECK(from.groups == 1, "an activation within a shuffle");
  Node node;
  node.kind = Kind::kActivation;
  node.inputs = {from.node};
  node.dims = from.dims;
  node.activation = activation;
  return Add(std::move(node));
}

Answer Symbols::Relu(const Call& call) { return Activate(call, {Activate_::kRelu}); }
Answer Symbols::Relu6(const Call& call) { return Activate(call, {Activate_::kClip, 0, 6}); }
Answer Symbols::HardTanh(const Call& call) {
  return Activate(call, {Activate_::kClip, NumberOf(call, 1), NumberOf(call, 2)});
}
Answer Symbols::Sigmoid(const Call& call) { return Activate(call, {Activate_::kSigmoid}); }
Answer Symbols::HardSigmoid(const Call& call) { return Activate(call, {Activate_::kHardSigmoid}); }
Answer Symbols::Silu(const Call& call) { return Activate(call, {Activate_::kSwish}); }
Answer Symbols::HardSwish(const Call& call) { return Activate(call, {Activate_::kHardSwish}); }
Answer Symbols::Gelu(const Call& call) {
  TORCH_CHECK(call.Constant(1).toStringRef() == "none", "a gelu that is approximated");
  return Activate(call, {Activate_::kGelu});
}

Answer Symbols::ConvolveBy(const Call& call, size_t groups_at, bool may_transpose) {
  const Symbol& from = Picture(call, 0);
  const at::Tensor weights = call.Constant(1).toTensor();
  TORCH_CHECK(weights.dim() == 4, "a convolution of ", weights.dim() - 2, " dimensions");
  TORCH_CHECK(!may_transpose || !call.Constant(6).toBool(), "a transposed convolution");
  Node node;
  node.kind = Kind::kConvolution;
  node.inputs = {from.node};
  node.weights = Floats(weights);
  node.bias = FloatsOf(call.Constant(2));
  node.kernel = {weights.size(2), weights.size(3)};
  node.stride = PairOf(call.Constant(3));
  node.before = node.after = PairOf(call.Constant(4));
  node.dilation = PairOf(call.Constant(5));
  node.groups = call.Constant(groups_at).toInt();
  TORCH_CHECK(weights.size(1) * node.groups == from.dims[1], "weights for other channels");
  node.dims = {from.dims[0], weights.size(0)};
  for (size_t i = 0; i < 2; ++i) {
    node.dims.push_back(Positions(from.dims[2 + i], node.before[i], node.after[i], node.kernel[i],
                                  node.dilation[i], node.stride[i]));
  }
  TORCH_CHECK(node.dims[2] > 0 && node.dims[3] > 0, "the kernel is larger than the picture");
  return Add(std::move(node));
}

Answer Symbols::Convolution(const Call& call) { return ConvolveBy(call, 8, true); }
Answer Symbols::Convolution2d(const Call& call) {
  TORCH_CHECK(!call.Constant(4).isString(), "padding by name");
  return ConvolveBy(call, 6, false);
}

Answer Symbols::Scale(const Symbol& from, const c10::IValue& weights, const c10::IValue& bias) {
  TORCH_CHECK(from.dims.size() == 4 && from.groups == 1, "a scale of what is no picture");
  Node node;
  node.kind = Kind::kAffine;
  node.inputs = {from.node};
  node.dims = from.dims;
  node.weights = FloatsOf(weights);
  node.bias = FloatsOf(bias);
  const auto channels = static_cast<size_t>(from.dims[1]);
  TORCH_CHECK(node.weights.count == channels && node.bias.count == channels,
              "scales for other channels");
  return Add(std::move(node));
}

Answer Symbols::BatchNorm(const Call& call) {
  const Symbol& from = Picture(call, 0);
  TORCH_CHECK(!call.Constant(5).toBool(), "a batch norm in training");
  const at::Tensor mean = call.Constant(3).toTensor();
  at::Tensor scale = at::rsqrt(call.Constant(4).toTensor() + call.Constant(7).toDouble());
  if (!call.Constant(1).isNone()) scale = scale * call.Constant(1).toTensor();
  at::Tensor shift = -mean * scale;
  if (!call.Constant(2).isNone()) shift = shift + call.Constant(2).toTensor();
  return Scale(from, scale, shift);
}

Answer Symbols::PoolBy(const Call& call, Kind kind) {
  const Symbol& from = Picture(call, 0);
  const bool mean = kind == Kind::kMeanPool;
  Node node;
  node.kind = kind;
  node.inputs = {from.node};
  node.kernel = PairOf(call.Constant(1));
  node.stride = Ints(call.Constant(2)).empty() ? node.kernel : PairOf(call.Constant(2));
  node.before = PairOf(call.Constant(3));
  if (!mean) node.dilation = PairOf(call.Constant(4));
  const bool rounds_up = call.Constant(mean ? 4 : 5).toBool();
  if (mean) {
    node.counts_padding = call.Constant(5).toBool();
    TORCH_CHECK(call.operands.size() < 7 || call.Constant(6).isNone(), "another divisor");
  }
  node.dims = {from.dims[0], from.dims[1]};
  for (size_t i = 0; i < 2; ++i) {
    const int64_t size = from.dims[2 + i];
    const int64_t positions = rounds_up
                                  ? PositionsRoundedUp(size, node.before[i], node.kernel[i],
                                                       node.dilation[i], node.stride[i])
                                  : Positions(size, node.before[i], node.before[i], node.kernel[i],
                                              node.dilation[i], node.stride[i]);
    TORCH_CHECK(positions > 0, "the window is larger than the picture");
    node.dims.push_back(positions);
    const int64_t reach =
        (positions - 1) * node.stride[i] + node.dilation[i] * (node.kernel[i] - 1) + 1;
    node.after[i] = std::max(node.before[i], reach - size - node.before[i]);
    TORCH_CHECK(!mean || !node.counts_padding || node.after[i] <= node.before[i],
                "a mean over more than the padding");
  }
  return Add(std::move(node));
}

Answer Symbols::MaxPool(const Call& call) { return PoolBy(call, Kind::kMaxPool); }
Answer Symbols::AvgPool(const Call& call) { return PoolBy(call, Kind::kMeanPool); }

Answer Symbols::AdaptiveAvgPool(const Call& call) {
  const Symbol& from = Picture(call, 0);
  const Pair wanted = PairOf(call.Constant(1));
  if (wanted[0] == from.dims[2] && wanted[1] == from.dims[3]) return {{from}};
  Node node;
  node.kind = Kind::kMeanPool;
  node.inputs = {from.node};
  node.dims = {from.dims[0], from.dims[1], wanted[0], wanted[1]};
  for (size_t i = 0; i < 2; ++i) {
    TORCH_CHECK(wanted[i] > 0 && from.dims[2 + i] % wanted[i] == 0, "windows of unequal sizes");
    node.kernel[i] = node.stride[i] = from.dims[2 + i] / wanted[i];
  }
  return Add(std::move(node));
}

Answer Symbols::MeanOverAll(const Symbol& from, bool keeps) {
  Node node;
  node.kind = Kind::kMeanPool;
  node.inputs = {from.node};
  node.dims = {from.dims[0], from.dims[1], 1, 1};
  node.kernel = node.stride = {from.dims[2], from.dims[3]};
  const Answer mean = Add(std::move(node));
  return keeps ? mean : Flattened(mean.symbols[0]);
}

Answer Symbols::Mean(const Call& call) {
  const Symbol& from = Picture(call, 0);
  std::vector<size_t> dims;
  for (const int64_t dim : Ints(call.Constant(1))) dims.push_back(DimOf(from, dim));
  std::sort(dims.begin(), dims.end());
  TORCH_CHECK((dims == std::vector<size_t>{2, 3}), "a mean over other than height and width");
  TORCH_CHECK(call.Constant(3).isNone(), "a mean of another type");
  return MeanOverAll(from, call.Constant(2).toBool());
}

Answer Symbols::Sum(const Call& call) {
  CheckNoAlpha(call);
  const Symbol& from = call.One(0);
  if (IsNumber(call, 1)) {
    const auto channels = from.dims[1];
    return Scale(from, at::ones({channels}), at::full({channels}, NumberOf(call, 1)));
  }
  const Symbol& other = call.One(1);
  TORCH_CHECK(from.dims == other.dims && from.dims.size() == 4, "a sum of unequal tensors");
  Node node;
  node.kind = Kind::kAdd;
  node.inputs = {from.node, other.node};
  node.dims = from.dims;
  return Add(std::move(node));
}

Answer Symbols::Product(const Call& call) {
  if (IsNumber(call, 1)) {
    const Symbol& from = call.One(0);
    const auto channels = from.dims[1];
    return Scale(from, at::full({channels}, NumberOf(call, 1)), at::zeros({channels}));
  }
  const Symbol* from = &Picture(call, 0);
  const Symbol* other = &Picture(call, 1);
  if (CountOf(from->dims) < CountOf(other->dims)) std::swap(from, other);
  const Dims one_each = {from->dims[0], from->dims[1], 1, 1};
  TORCH_CHECK(other->dims == from->dims || other->dims == one_each, "a product of unequal tensors");
  Node node;
  node.kind = Kind::kMultiply;
  node.inputs = {from->node, other->node};
  node.dims = from->dims;
  return Add(std::move(node));
}

Answer Symbols::Linear(const Call& call) {
  return LinearBy(call.One(0), call.Constant(1).toTensor(), call.Constant(2));
}

Answer Symbols::AddMm(const Call& call) {
  TORCH_CHECK(NumberOf(call, 3) == 1 && NumberOf(call, 4) == 1, "a product with factors");
  TORCH_CHECK(call.Constant(0).toTensor().dim() == 1, "a bias that is not one row");
  return LinearBy(call.One(1), call.Constant(2).toTensor().t(), call.Constant(0));
}

Answer Symbols::LinearBy(const Symbol& from, const at::Tensor& weights, const c10::IValue& bias) {
  TORCH_CHECK(from.dims.size() == 2 && weights.dim() == 2 && weights.size(1) == from.dims[1],
              "a linear layer of other than rows");
  Node node;
  node.kind = Kind::kLinear;
  node.inputs = {from.node};
  node.dims = {from.dims[0], weights.size(0)};
  node.weights = Floats(weights);
  node.bias = FloatsOf(bias);
  return Add(std::move(node));
}

Answer Symbols::Dropout(const Call& call) {
  TORCH_CHECK(!call.Constant(2).toBool(), "a dropout in training");
  return {{call.One(0)}};
}

Answer Symbols::Apply(const std::string& name, const Call& call) {
  for (const auto& [known, apply] : Table()) {
    if (known == name) return (this->*apply)(call);
  }
  TORCH_CHECK(false, "no ", name, " for it");
}

bool Symbols::Knows(const std::string& name) {
  return std::any_of(Table().begin(), Table().end(),
                     [&name](const auto& row) { return row.first == name; });
}

const std::vector<std::pair<std::string, Symbols::Applied>>& Symbols::Table() {
  static const auto* const table = new std::vector<std::pair<std::string, Applied>>{
      {"_convolution", &Symbols::Convolution},
      {"conv2d", &Symbols::Convolution2d},
      {"batch_norm", &Symbols::BatchNorm},
      {"relu", &Symbols::Relu},
      {"relu6", &Symbols::Relu6},
      {"hardtanh", &Symbols::HardTanh},
      {"sigmoid", &Symbols::Sigmoid},
      {"hardsigmoid", &Symbols::HardSigmoid},
      {"silu", &Symbols::Silu},
      {"hardswish", &Symbols::HardSwish},
      {"gelu", &Symbols::Gelu},
      {"max_pool2d", &Symbols::MaxPool},
      {"avg_pool2d", &Symbols::AvgPool},
      {"adaptive_avg_pool2d", &Symbols::AdaptiveAvgPool},
      {"mean", &Symbols::Mean},
      {"add", &Symbols::Sum},
      {"mul", &Symbols::Product},
      {"cat", &Symbols::Concatenate},
      {"chunk", &Symbols::Chunk},
      {"split", &Symbols::Split},
      {"split_with_sizes", &Symbols::Split},
      {"narrow", &Symbols::Narrow},
      {"slice", &Symbols::Slice},
      {"view", &Symbols::View},
      {"reshape", &Symbols::View},
      {"transpose", &Symbols::Transpose},
      {"flatten", &Symbols::Flatten},
      {"linear", &Symbols::Linear},
      {"addmm", &Symbols::AddMm},
      {"contiguous", &Symbols::Same},
      {"detach", &Symbols::Same},
      {"dropout", &Symbols::Dropout},
      {"size", &Symbols::Size},
      {"dim", &Symbols::DimCount},
  };
  return *table;
}

}  // namespace torchd
