#include "server/execution/network_reader.h"

#include <ATen/ATen.h>
#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>

#include "server/execution/network_symbols.h"

namespace torchd {
namespace {

using torch::jit::Block;
using Known = std::variant<c10::IValue, Symbol, std::vector<Symbol>>;

class Reader {
 public:
  explicit Reader(const torch::jit::Graph& graph) : graph_(graph) {}

  ReadNetwork Run(const std::vector<c10::IValue>& inputs) {
    const auto values = graph_.inputs();
    TORCH_CHECK(values.size() == inputs.size(), "a graph of ", values.size(), " inputs");
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].isTensor()) {
        known_[values[i]] = symbols_.Input(inputs[i].toTensor());
      } else {
        known_[values[i]] = inputs[i];
      }
    }
    Walk(*graph_.block());
    ReadNetwork read;
    TORCH_CHECK(graph_.outputs().size() == 1, "one value is expected");
    const Known& result = known_.at(graph_.outputs()[0]);
    if (const auto* many = std::get_if<std::vector<Symbol>>(&result)) {
      read.gives_tuple = true;
      for (const Symbol& symbol : *many) symbols_.Output(symbol);
    } else {
      symbols_.Output(SymbolOf(result));
    }
    read.network = symbols_.Take();
    return read;
  }

 private:
  static const Symbol& SymbolOf(const Known& value) {
    const auto* const symbol = std::get_if<Symbol>(&value);
    TORCH_CHECK(symbol != nullptr, "a tensor is expected that depends on the inputs");
    return *symbol;
  }

  void Walk(const Block& block) {
    for (const torch::jit::Node* node : block.nodes()) Visit(*node);
  }

  bool AllConstant(const torch::jit::Node& node) const {
    for (const torch::jit::Value* value : node.inputs()) {
      if (!std::holds_alternative<c10::IValue>(known_.at(value))) return false;
    }
    return true;
  }

  void Visit(const torch::jit::Node& node) {
    switch (node.kind()) {
      case c10::prim::Constant:
        return Remember(node);
      case c10::prim::If:
        return Branch(node);
      case c10::prim::ListConstruct:
      case c10::prim::TupleConstruct:
        return Construct(node);
      case c10::prim::ListUnpack:
      case c10::prim::TupleUnpack:
        if (Unpack(node)) return;
        break;
      case c10::aten::warn:
        return;
      case c10::prim::RaiseException:
        TORCH_CHECK(false, "the model raises an exception");
      default:
        break;
    }
    if (AllConstant(node)) return Compute(node);
    Apply(node);
  }

  void Remember(const torch::jit::Node& constant) {
    const auto value = torch::jit::toIValue(constant.output());
    TORCH_CHECK(value, "a constant without a value");
    known_[constant.output()] = *value;
  }

  void Branch(const torch::jit::Node& node) {
    const auto* const condition = std::get_if<c10::IValue>(&known_.at(node.input()));
    TORCH_CHECK(condition != nullptr, "a branch depends on what is computed");
    const Block& taken = *node.blocks()[condition->toBool() ? 0 : 1];
    Walk(taken);
    for (size_t i = 0; i < node.outputs().size(); ++i) {
      known_[node.outputs()[i]] = known_.at(taken.outputs()[i]);
    }
  }

  void Construct(const torch::jit::Node& node) {
    if (!AllConstant(node)) {
      std::vector<Symbol> many;
      for (const torch::jit::Value* value : node.inputs()) {
        many.push_back(SymbolOf(known_.at(value)));
      }
      known_[node.output()] = std::move(many);
      return;
    }
    std::vector<c10::IValue> values;
    for (const torch::jit::Value* value : node.inputs()) {
      values.push_back(std::get<c10::IValue>(known_.at(value)));
    }
    if (node.kind() == c10::prim::TupleConstruct) {
      known_[node.output()] = c10::IValue(c10::ivalue::Tuple::create(std::move(values)));
      return;
    }
    c10::impl::GenericList list(node.output()->type()->expectRef<c10::ListType>().getElementType());
    for (c10::IValue& value : values) list.push_back(std::move(value));
    known_[node.output()] = c10::IValue(list);
  }

  bool Unpack(const torch::jit::Node& node) {
    const Known packed = known_.at(node.input());
    const auto outputs = node.outputs();
    if (const auto* many = std::get_if<std::vector<Symbol>>(&packed)) {
      TORCH_CHECK(many->size() == outputs.size(), "a list of another length");
      for (size_t i = 0; i < many->size(); ++i) known_[outputs[i]] = (*many)[i];
      return true;
    }
    const auto* const value = std::get_if<c10::IValue>(&packed);
    if (value == nullptr) return false;
    const std::vector<c10::IValue> elements =
        value->isTuple() ? value->toTupleRef().elements().vec() : value->toListRef().vec();
    TORCH_CHECK(elements.size() == outputs.size(), "a list of another length");
    for (size_t i = 0; i < elements.size(); ++i) known_[outputs[i]] = elements[i];
    return true;
  }

  void Compute(const torch::jit::Node& node) {
    TORCH_CHECK(node.maybeOperator() != nullptr, "no ", node.kind().toQualString());
    TORCH_CHECK(!node.isNondeterministic() && !node.hasSideEffects(), node.kind().toQualString(),
                " is not the same each time");
    torch::jit::Stack stack;
    for (const torch::jit::Value* value : node.inputs()) {
      stack.push_back(std::get<c10::IValue>(known_.at(value)));
    }
    node.getOperation()(stack);
    const auto outputs = node.outputs();
    TORCH_CHECK(stack.size() == outputs.size(), node.kind().toQualString(), " left too much");
    for (size_t i = 0; i < outputs.size(); ++i) known_[outputs[i]] = stack[i];
  }

  void Apply(const torch::jit::Node& node) {
    Call call;
    for (const torch::jit::Value* value : node.inputs()) {
      const Known& known = known_.at(value);
      Operand& operand = call.operands.emplace_back();
      if (const auto* constant = std::get_if<c10::IValue>(&known)) operand.constant = *constant;
      if (const auto* symbol = std::get_if<Symbol>(&known)) operand.symbols = {*symbol};
      if (const auto* many = std::get_if<std::vector<Symbol>>(&known)) {
        operand.symbols = *many;
        operand.list = true;
      }
    }
    std::string name = node.kind().toUnqualString();
    if (node.kind() == c10::prim::ConstantChunk) {
      name = "chunk";
      call.operands.push_back({.constant = c10::IValue(node.i(c10::attr::chunks))});
      call.operands.push_back({.constant = c10::IValue(node.i(c10::attr::dim))});
    }
    // Other names of the same memory would see the change.
    TORCH_CHECK(name.back() != '_', node.kind().toQualString(), " changes what has other names");
    Answer answer = symbols_.Apply(name, call);
    if (node.kind() == c10::prim::ConstantChunk) {
      for (size_t i = 0; i < node.outputs().size(); ++i) {
        known_[node.outputs()[i]] = answer.symbols.at(i);
      }
      return;
    }
    TORCH_CHECK(node.outputs().size() == 1, node.kind().toQualString(), " gives several values");
    Known result;
    if (answer.list) {
      result = std::move(answer.symbols);
    } else if (!answer.symbols.empty()) {
      result = answer.symbols[0];
    } else {
      result = std::move(answer.constant);
    }
    known_[node.output()] = std::move(result);
  }

  const torch::jit::Graph& graph_;
  Symbols symbols_;
  std::unordered_map<const torch::jit::Value*, Known> known_;
};

}  // namespace

void CheckReadable(const torch::jit::Graph& graph) {
  // What is computed from sizes alone is no matter of the network.
  std::unordered_set<const torch::jit::Value*> computed;
  for (const torch::jit::Value* input : graph.inputs()) {
    if (input->type()->isSubtypeOf(*c10::TensorType::get())) computed.insert(input);
  }
  for (const torch::jit::Node* node : graph.nodes()) {
    const bool depends =
        std::any_of(node->inputs().begin(), node->inputs().end(),
                    [&](const torch::jit::Value* value) { return computed.count(value) > 0; });
    const std::string name = node->kind().toUnqualString();
    if (!depends || name == "size" || name == "dim") continue;
    if (node->kind().is_aten()) {
      TORCH_CHECK(Symbols::Knows(name), "no ", node->kind().toQualString(), " for it");
    }
    computed.insert(node->outputs().begin(), node->outputs().end());
  }
}

ReadNetwork ReadNetworkOf(const torch::jit::Graph& graph, const std::vector<c10::IValue>& inputs) {
  return Reader(graph).Run(inputs);
}

}  // namespace torchd
