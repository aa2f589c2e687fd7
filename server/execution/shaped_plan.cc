#include "server/execution/shaped_plan.h"

#include <torch/csrc/jit/passes/inliner.h>
#include <torch/script.h>

#include <utility>

#include "server/execution/torch_runtime.h"

namespace torchd {
namespace {

// Each may hold its own copy of the weights in oneDNN's layout.
constexpr size_t kShapesMax = 16;

std::vector<int64_t> ShapesOf(const std::vector<at::Tensor>& inputs) {
  std::vector<int64_t> shapes;
  for (const at::Tensor& input : inputs) {
    shapes.insert(shapes.end(), input.sizes().begin(), input.sizes().end());
    shapes.push_back(-1);
  }
  return shapes;
}

}  // namespace

c10::IValue ShapedPlan::Run(std::vector<at::Tensor> inputs) {
  const TeamToCompileFor team;
  const bool takes = Takes(inputs);
  const Shapes shapes = ShapesOf(inputs);
  torch::jit::Stack stack = forward_.Arguments(std::move(inputs));
  const Code compiled = takes ? CodeFor(shapes, stack) : nullptr;
  if (compiled != nullptr) return compiled->Run(std::move(stack));
  forward_.function().run(stack);
  return std::move(stack.front());
}

std::shared_ptr<torch::jit::Graph> ShapedPlan::CopyGraph() const {
  auto graph = torch::jit::toGraphFunction(forward_.function()).graph()->copy();
  torch::jit::Inline(*graph);
  return graph;
}

ShapedPlan::Code ShapedPlan::CodeFor(const Shapes& shapes, const torch::jit::Stack& stack) {
  if (auto known = Find(shapes)) return known;
  if (settled_) return nullptr;
  absl::MutexLock one_at_a_time(&compiling_);
  if (auto known = Find(shapes)) return known;
  if (IsFull()) return nullptr;
  Code made = Compile(stack);
  absl::MutexLock lock(&mutex_);
  codes_.emplace(shapes, made);
  return made;
}

bool ShapedPlan::IsFull() const {
  absl::ReaderMutexLock lock(&mutex_);
  return codes_.size() >= kShapesMax;
}

ShapedPlan::Code ShapedPlan::Find(const Shapes& shapes) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto found = codes_.find(shapes);
  return found == codes_.end() ? nullptr : found->second;
}

}  // namespace torchd
