// Tensors that are known by their shape alone, and the operations on them that a network has.
// Private to the folder `execution`.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <string>
#include <vector>

#include "server/direct/network.h"

namespace torchd {

// The result of a node; or that, its channels split into groups, which may have changed places with
// the channels within them: a step of a shuffle.
struct Symbol {
  size_t node = 0;
  Dims dims = {};
  int64_t groups = 1;
  bool turned = false;
};

// Of an operation: tensors that depend on the inputs, or a constant.
struct Operand {
  std::vector<Symbol> symbols = {};
  bool list = false;
  c10::IValue constant = {};
};
struct Call {
  std::vector<Operand> operands;

  // These throw c10::Error where operand `i` is missing or something else.
  const Operand& At(size_t i) const;
  const Symbol& One(size_t i) const;  // Tensor that depends on the inputs.
  const c10::IValue& Constant(size_t i) const;
};
struct Answer {
  std::vector<Symbol> symbols = {};
  bool list = false;
  c10::IValue constant = {};  // Where there are no symbols.
};

class Symbols {
 public:
  // Throws c10::Error where it is not float32 of 2 or 4 dimensions.
  Symbol Input(const at::Tensor& tensor);
  void Output(const Symbol& symbol);
  Network Take() { return std::move(network_); }

  // `name`: as in ATen. Throws c10::Error where
  // there is no such operation on such operands.
  Answer Apply(const std::string& name, const Call& call);
  static bool Knows(const std::string& name);

 private:
  using Applied = Answer (Symbols::*)(const Call&);
  static const std::vector<std::pair<std::string, Applied>>& Table();

  const Node& NodeOf(const Symbol& symbol) const { return network_.nodes[symbol.node]; }
  Answer Add(Node node);
  Answer AddChannels(std::vector<size_t> inputs, std::vector<Channel> channels, Dims dims);
  Answer Activate(const Call& call, Activation activation);
  Answer Scale(const Symbol& from, const c10::IValue& weights, const c10::IValue& bias);
  Answer SliceChannels(const Symbol& from, int64_t begin, int64_t end);
  Answer SplitAt(const Symbol& from, const std::vector<int64_t>& sizes);
  Answer MeanOverAll(const Symbol& from, bool keeps);
  Answer Flattened(const Symbol& from);
  Answer Reshaped(const Symbol& from, std::vector<int64_t> sizes);
  Answer PoolBy(const Call& call, Node::Kind kind);
  Answer ConvolveBy(const Call& call, size_t groups_at, bool may_transpose);
  Answer LinearBy(const Symbol& from, const at::Tensor& weights, const c10::IValue& bias);

  Answer Convolution(const Call& call);
  Answer Convolution2d(const Call& call);
  Answer BatchNorm(const Call& call);
  Answer Relu(const Call& call);
  Answer Relu6(const Call& call);
  Answer HardTanh(const Call& call);
  Answer Sigmoid(const Call& call);
  Answer HardSigmoid(const Call& call);
  Answer Silu(const Call& call);
  Answer HardSwish(const Call& call);
  Answer Gelu(const Call& call);
  Answer MaxPool(const Call& call);
  Answer AvgPool(const Call& call);
  Answer AdaptiveAvgPool(const Call& call);
  Answer Mean(const Call& call);
  Answer Sum(const Call& call);
  Answer Product(const Call& call);
  Answer Concatenate(const Call& call);
  Answer Chunk(const Call& call);
  Answer Split(const Call& call);
  Answer Narrow(const Call& call);
  Answer Slice(const Call& call);
  Answer View(const Call& call);
  Answer Transpose(const Call& call);
  Answer Flatten(const Call& call);
  Answer Linear(const Call& call);
  Answer AddMm(const Call& call);
  Answer Same(const Call& call);
  Answer Dropout(const Call& call);
  Answer Size(const Call& call);
  Answer DimCount(const Call& call);

  Network network_;
};

}  // namespace torchd
