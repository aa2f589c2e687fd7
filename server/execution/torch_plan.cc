#include "server/execution/torch_plan.h"

#include <torch/csrc/jit/codegen/onednn/interface.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/interpreter.h>
#include <torch/csrc/jit/runtime/profiling_record.h>
#include <torch/script.h>

#include <atomic>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/execution/torch_runtime.h"

namespace torchd {
namespace {

std::vector<c10::IValue> DefaultsOf(const torch::jit::Function& function) {
  std::vector<c10::IValue> defaults;
  for (const c10::Argument& argument : function.getSchema().arguments()) {
    if (argument.default_value()) defaults.push_back(*argument.default_value());
  }
  return defaults;
}

// The arguments of a module's forward(), without what Module::forward() does each time: look the
// method up, copy the arguments, check them against the schema.
class Forward {
 public:
  explicit Forward(torch::jit::Module module)
      : module_(std::move(module)),
        self_(module_._ivalue()),
        function_(module_.get_method("forward").function()),
        defaults_(DefaultsOf(function_)) {}

  torch::jit::Stack Arguments(std::vector<at::Tensor> inputs) const {
    const size_t count = 1 + inputs.size() + defaults_.size();
    TORCH_CHECK(count == function_.num_inputs(), "the model takes ",
                function_.num_inputs() - 1 - defaults_.size(), " inputs, not ", inputs.size());
    torch::jit::Stack stack;
    stack.reserve(count);
    stack.emplace_back(self_);
    for (at::Tensor& input : inputs) stack.emplace_back(std::move(input));
    stack.insert(stack.end(), defaults_.begin(), defaults_.end());
    return stack;
  }

  torch::jit::Function& function() const { return function_; }

 private:
  const torch::jit::Module module_;
  const c10::IValue self_;
  torch::jit::Function& function_;           // Of module_; safe to run concurrently.
  const std::vector<c10::IValue> defaults_;  // Of the arguments after the inputs.
};

// LibTorch's own executor decides what becomes of the graph.
class FunctionPlan final : public TorchPlan {
 public:
  FunctionPlan(torch::jit::Module module, bool channels_last)
      : forward_(std::move(module)), channels_last_(channels_last) {}

  c10::IValue Run(std::vector<at::Tensor> inputs) override {
    if (channels_last_) {
      for (at::Tensor& input : inputs) {
        if (input.dim() == 4) input = input.contiguous(at::MemoryFormat::ChannelsLast);
      }
    }
    torch::jit::Stack stack = forward_.Arguments(std::move(inputs));
    forward_.function().run(stack);
    return std::move(stack.front());
  }

 private:
  const Forward forward_;
  const bool channels_last_;
};

// What LibTorch's executor does with oneDNN Graph after two runs, but at once, for each shape on
// its own (only the first shape of a module would be fused well), and without the switch that turns
// it on for the whole process.
class GraphPlan final : public TorchPlan {
 public:
  explicit GraphPlan(torch::jit::Module module) : forward_(std::move(module)) {}

  c10::IValue Run(std::vector<at::Tensor> inputs) override {
    const Shapes shapes = ShapesOf(inputs);
    torch::jit::Stack stack = forward_.Arguments(std::move(inputs));
    if (const Compiled compiled = CodeFor(shapes, stack)) {
      torch::jit::InterpreterState(*compiled).run(stack);
    } else {
      forward_.function().run(stack);
    }
    return std::move(stack.front());
  }

  void Settle() override { settled_ = true; }

 private:
  using Shapes = std::vector<int64_t>;
  using Compiled = std::shared_ptr<const torch::jit::Code>;

  // Each holds its own copy of the weights in oneDNN's layout.
  static constexpr size_t kShapesMax = 16;

  static Shapes ShapesOf(const std::vector<at::Tensor>& inputs) {
    Shapes shapes;
    for (const at::Tensor& input : inputs) {
      shapes.insert(shapes.end(), input.sizes().begin(), input.sizes().end());
      shapes.push_back(-1);
    }
    return shapes;
  }

  // Null: not for this shape.
  Compiled CodeFor(const Shapes& shapes, const torch::jit::Stack& stack)
      ABSL_LOCKS_EXCLUDED(mutex_, compiling_) {
    if (auto known = Find(shapes)) return known;
    if (settled_) return nullptr;
    absl::MutexLock one_at_a_time(&compiling_);
    if (auto known = Find(shapes)) return known;
    Compiled made = Compile(stack);
    {
      const TeamToCompileFor team;
      torch::jit::Stack arguments = stack;
      torch::jit::InterpreterState(*made).run(arguments);  // Here oneDNN compiles.
    }
    absl::MutexLock lock(&mutex_);
    if (codes_.size() < kShapesMax) codes_.emplace(shapes, made);
    return made;
  }

  Compiled Find(const Shapes& shapes) const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::ReaderMutexLock lock(&mutex_);
    const auto found = codes_.find(shapes);
    return found == codes_.end() ? nullptr : found->second;
  }

  Compiled Compile(const torch::jit::Stack& stack) const {
    std::shared_ptr<torch::jit::Graph> graph =
        torch::jit::toGraphFunction(forward_.function()).graph()->copy();
    torch::jit::Inline(*graph);
    const auto record = torch::jit::ProfilingRecord::instrumentGraph(graph);
    const torch::jit::Code profiled(record->graph(), "profiled");
    constexpr int kProfiledRuns = 2;
    for (int run = 0; run < kProfiledRuns; ++run) {
      torch::jit::Stack arguments = stack;
      torch::jit::InterpreterState(profiled).run(arguments);
    }
    graph = record->graph()->copy();
    torch::jit::ProfilingRecord::removeProfileCounter(graph->block());
    torch::jit::fuser::onednn::fuseGraph(graph);
    return std::make_shared<const torch::jit::Code>(graph, "fused");
  }

  const Forward forward_;
  std::atomic<bool> settled_{false};
  absl::Mutex compiling_ ABSL_ACQUIRED_BEFORE(mutex_);
  mutable absl::Mutex mutex_;
  std::map<Shapes, Compiled> codes_ ABSL_GUARDED_BY(mutex_);
};

torch::jit::Module ChannelsLast(const torch::jit::Module& module) {
  torch::jit::Module copy = module.deepcopy();
  for (const at::Tensor& parameter : copy.parameters()) {
    if (parameter.dim() != 4) continue;
    const_cast<at::Tensor&>(parameter).set_data(
        parameter.contiguous(at::MemoryFormat::ChannelsLast));
  }
  return copy;
}

}  // namespace

std::unique_ptr<TorchPlan> MakeTorchPlan(const torch::jit::Module& module, Plan plan) {
  switch (plan) {
    case Plan::kSaved:
      return std::make_unique<FunctionPlan>(module, false);
    case Plan::kFrozen:
      return std::make_unique<FunctionPlan>(torch::jit::freeze(module), false);
    case Plan::kOneDnn: {
      torch::jit::Module frozen = torch::jit::freeze(module);
      return std::make_unique<FunctionPlan>(torch::jit::optimize_for_inference(frozen), false);
    }
    case Plan::kChannelsLast:
      return std::make_unique<FunctionPlan>(torch::jit::freeze(ChannelsLast(module)), true);
    case Plan::kGraph:
      return std::make_unique<GraphPlan>(torch::jit::freeze(module));
    case Plan::kPackage:
      break;
  }
  TORCH_CHECK(false, "TorchScript has no plan '", Name(plan), "'");
}

}  // namespace torchd
