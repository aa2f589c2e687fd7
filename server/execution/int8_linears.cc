#include "server/execution/int8_linears.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/script.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace torchd {
namespace {

c10::IValue Call(const char* name, std::vector<c10::IValue> arguments) {
  c10::Dispatcher::singleton().findSchemaOrThrow(name, "").callBoxed(arguments);
  return arguments.at(0);
}

// Each output's weights to 8 bits, around 0.
c10::IValue Packed(const at::Tensor& weights, const c10::IValue& bias) {
  constexpr double kLargest = 127;
  const at::Tensor scales =
      (weights.abs().amax(1).to(at::kDouble) / kLargest).clamp_min(1e-12).contiguous();
  const at::Tensor zeros = at::zeros({weights.size(0)}, at::kLong);
  const at::Tensor quantized = at::quantize_per_channel(weights, scales, zeros, 0, at::kQInt8);
  return Call("quantized::linear_prepack", {quantized, bias});
}

bool IsFloatMatrix(const std::optional<c10::IValue>& value) {
  return value && value->isTensor() && value->toTensor().dim() == 2 &&
         value->toTensor().scalar_type() == at::kFloat;
}

// Replaces linear layers with constant weights; their inputs are quantized as they come.
int QuantizeLinears(torch::jit::Module& frozen) {
  const auto graph = frozen.get_method("forward").graph();
  std::vector<torch::jit::Node*> linears;
  for (torch::jit::Node* node : graph->nodes()) {
    const bool linear = node->kind() == c10::aten::linear &&
                        IsFloatMatrix(torch::jit::toIValue(node->input(1))) &&
                        torch::jit::toIValue(node->input(2));
    if (linear) linears.push_back(node);
  }
  for (size_t i = 0; i < linears.size(); ++i) {
    torch::jit::Node* const node = linears[i];
    const c10::IValue packed = Packed(torch::jit::toIValue(node->input(1))->toTensor(),
                                      *torch::jit::toIValue(node->input(2)));
    const std::string name = absl::StrCat("_torchd_packed_", i);
    frozen.register_attribute(name, packed.type(), packed);
    const torch::jit::WithInsertPoint before(node);
    torch::jit::Value* const weights = graph->insertGetAttr(graph->inputs()[0], name);
    // Seven bits of eight: without VNNI the sums of two products would not fit.
    torch::jit::Value* const reduced = graph->insertConstant(true);
    torch::jit::Node* const replaced =
        graph->create(c10::Symbol::fromQualString("quantized::linear_dynamic"),
                      {node->input(0), weights, reduced});
    graph->insertNode(replaced);
    replaced->output()->setType(node->output()->type());
    node->output()->replaceAllUsesWith(replaced->output());
    node->destroy();
  }
  return static_cast<int>(linears.size());
}

}  // namespace

torch::jit::Module WithInt8Linears(const torch::jit::Module& module) {
  torch::jit::Module frozen = torch::jit::freeze(module);
  TORCH_CHECK(QuantizeLinears(frozen) > 0, "it has no linear layers to quantize");
  return frozen;
}

}  // namespace torchd
