#include "server/execution/torch_plan.h"

#include <torch/script.h>

#include <utility>

#include "server/execution/shaped_plan.h"
#include "server/execution/torch_forward.h"

namespace torchd {
namespace {

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
      return MakeGraphPlan(torch::jit::freeze(module));
    case Plan::kDirect:
      return MakeDirectPlan(torch::jit::freeze(module));
    case Plan::kPackage:
      break;
  }
  TORCH_CHECK(false, "TorchScript has no plan '", Name(plan), "'");
}

}  // namespace torchd
