#include "server/execution/torch_plan.h"

#include <torch/script.h>

#include <utility>

#include "server/execution/int8_linears.h"
#include "server/execution/shaped_plan.h"
#include "server/execution/torch_forward.h"

namespace torchd {
namespace {

using Prepare = at::Tensor (*)(const at::Tensor&);

at::Tensor AsItIs(const at::Tensor& input) { return input; }

at::Tensor WithChannelsLast(const at::Tensor& input) {
  return input.dim() == 4 ? input.contiguous(at::MemoryFormat::ChannelsLast) : input;
}

template <at::ScalarType kType>
at::Tensor Shorter(const at::Tensor& input) {
  return input.scalar_type() == at::kFloat ? input.to(kType) : input;
}

// LibTorch's own executor decides what becomes of the graph.
class FunctionPlan final : public TorchPlan {
 public:
  FunctionPlan(torch::jit::Module module, Prepare prepare)
      : forward_(std::move(module)), prepare_(prepare) {}

  c10::IValue Run(std::vector<at::Tensor> inputs) override {
    for (at::Tensor& input : inputs) input = prepare_(input);
    torch::jit::Stack stack = forward_.Arguments(std::move(inputs));
    forward_.function().run(stack);
    return std::move(stack.front());
  }

 private:
  const Forward forward_;
  const Prepare prepare_;
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

torch::jit::Module OfType(const torch::jit::Module& module, at::ScalarType type) {
  torch::jit::Module copy = module.deepcopy();
  copy.to(type);
  return copy;
}

std::unique_ptr<TorchPlan> Frozen(const torch::jit::Module& module, Prepare prepare = AsItIs) {
  return std::make_unique<FunctionPlan>(torch::jit::freeze(module), prepare);
}

}  // namespace

std::unique_ptr<TorchPlan> MakeTorchPlan(const torch::jit::Module& module, Plan plan) {
  switch (plan) {
    case Plan::kSaved:
      return std::make_unique<FunctionPlan>(module, AsItIs);
    case Plan::kFrozen:
      return Frozen(module);
    case Plan::kOneDnn: {
      torch::jit::Module frozen = torch::jit::freeze(module);
      return std::make_unique<FunctionPlan>(torch::jit::optimize_for_inference(frozen), AsItIs);
    }
    case Plan::kChannelsLast:
      return Frozen(ChannelsLast(module), WithChannelsLast);
    case Plan::kGraph:
      return MakeGraphPlan(torch::jit::freeze(module));
    case Plan::kDirect:
      return MakeDirectPlan(torch::jit::freeze(module));
    case Plan::kBf16:
      return Frozen(OfType(module, at::kBFloat16), Shorter<at::kBFloat16>);
    case Plan::kFp16:
      return Frozen(OfType(module, at::kHalf), Shorter<at::kHalf>);
    case Plan::kInt8:
      return std::make_unique<FunctionPlan>(WithInt8Linears(module), AsItIs);
    case Plan::kPackage:
      break;
  }
  TORCH_CHECK(false, "TorchScript has no plan '", Name(plan), "'");
}

}  // namespace torchd
