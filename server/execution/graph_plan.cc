#include <torch/csrc/jit/codegen/onednn/interface.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/tensorexpr_fuser.h>
#include <torch/csrc/jit/passes/utils/subgraph_utils.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/csrc/jit/runtime/profiling_record.h>
#include <torch/script.h>

#include <utility>
#include <vector>

#include "server/execution/shaped_plan.h"

namespace torchd {
namespace {

// Where a tensor is not as it was profiled, the operations run that were fused: as they were, not
// as a function that LibTorch's executor would look after.
void InlineFallbacks(torch::jit::Block& block) {
  std::vector<torch::jit::Node*> fallbacks;
  for (torch::jit::Node* node : block.nodes()) {
    if (node->kind() == c10::prim::FallbackGraph) fallbacks.push_back(node);
    for (torch::jit::Block* inner : node->blocks()) InlineFallbacks(*inner);
  }
  for (torch::jit::Node* node : fallbacks) torch::jit::SubgraphUtils::unmergeSubgraph(node);
}

bool IsFloatWithSizes(const torch::jit::Value& value) {
  const auto type = value.type()->cast<c10::TensorType>();
  return type != nullptr && type->scalarType() == at::kFloat && type->dim().value_or(0) > 0;
}

// A number that a trace keeps as a tensor is a double, and leaves a tensor of floats as it is.
// LibTorch would hand doubles to oneDNN Graph.
void MakeNumbersScalars(torch::jit::Block& block) {
  for (torch::jit::Node* node : block.nodes()) {
    for (torch::jit::Block* inner : node->blocks()) MakeNumbersScalars(*inner);
    const bool binary = node->kind() == c10::aten::mul || node->kind() == c10::aten::div ||
                        node->kind() == c10::aten::add || node->kind() == c10::aten::sub;
    if (!binary) continue;
    const auto number = torch::jit::constant_as<at::Tensor>(node->input(1));
    if (!number || number->scalar_type() != at::kDouble || number->dim() > 0) continue;
    if (!IsFloatWithSizes(*node->input(0))) continue;
    const torch::jit::WithInsertPoint before(node);
    node->replaceInput(1, block.owningGraph()->insertConstant(number->item<double>()));
  }
}

// What LibTorch's executor does with oneDNN Graph after two runs, but at once, for each shape on
// its own (only the first shape of a module would be fused well), and without the switch that turns
// it on for the whole process.
class GraphPlan final : public ShapedPlan {
 public:
  explicit GraphPlan(torch::jit::Module frozen) : ShapedPlan(std::move(frozen)) {}

 private:
  class Fused final : public Compiled {
   public:
    explicit Fused(const std::shared_ptr<torch::jit::Graph>& graph) : code_(graph, "fused") {}

    c10::IValue Run(torch::jit::Stack stack) const override {
      torch::jit::InterpreterState(code_).run(stack);
      return std::move(stack.front());
    }

   private:
    const torch::jit::Code code_;
  };

  std::unique_ptr<const Compiled> Compile(const torch::jit::Stack& stack) override {
    std::shared_ptr<torch::jit::Graph> graph = CopyGraph();
    const auto record = torch::jit::ProfilingRecord::instrumentGraph(graph);
    const torch::jit::Code profiled(record->graph(), "profiled");
    constexpr int kProfiledRuns = 2;
    for (int run = 0; run < kProfiledRuns; ++run) {
      torch::jit::Stack arguments = stack;
      torch::jit::InterpreterState(profiled).run(arguments);
    }
    graph = record->graph()->copy();
    torch::jit::ProfilingRecord::removeProfileCounter(graph->block());
    torch::jit::RemoveProfileNodesAndSpecializeTypes(graph);
    MakeNumbersScalars(*graph->block());
    torch::jit::fuser::onednn::fuseGraph(graph);
    InlineFallbacks(*graph->block());
    return std::make_unique<Fused>(graph);
  }
};

}  // namespace

std::unique_ptr<TorchPlan> MakeGraphPlan(torch::jit::Module frozen) {
  return std::make_unique<GraphPlan>(std::move(frozen));
}

}  // namespace torchd
