#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/remove_mutation.h>

#include <algorithm>
#include <utility>

#include "server/direct/direct_network.h"
#include "server/direct/kernels.h"
#include "server/execution/network_reader.h"
#include "server/execution/shaped_plan.h"

namespace torchd {
namespace {

class DirectPlan final : public ShapedPlan {
 public:
  explicit DirectPlan(torch::jit::Module frozen)
      : ShapedPlan(std::move(frozen)), graph_(CopyGraph()) {
    // Where nobody else looks, a changed tensor is as good as a new one.
    torch::jit::RemoveListMutation(graph_);
    torch::jit::RemoveTensorMutation(graph_);
    CheckReadable(*graph_);
  }

 private:
  class Direct final : public Compiled {
   public:
    Direct(std::unique_ptr<DirectNetwork> network, std::vector<Dims> outputs, bool gives_tuple)
        : network_(std::move(network)), outputs_(std::move(outputs)), gives_tuple_(gives_tuple) {}

    c10::IValue Run(torch::jit::Stack stack) const override {
      std::vector<const float*> inputs;
      for (const c10::IValue& value : stack) {
        if (value.isTensor()) inputs.push_back(value.toTensor().const_data_ptr<float>());
      }
      std::vector<c10::IValue> results;
      std::vector<float*> outputs;
      for (const Dims& dims : outputs_) {
        const at::Tensor result = at::empty(dims, at::kFloat);
        outputs.push_back(result.mutable_data_ptr<float>());
        results.emplace_back(result);
      }
      network_->Run(inputs, outputs);
      if (!gives_tuple_) return results[0];
      return c10::ivalue::Tuple::create(std::move(results));
    }

   private:
    const std::unique_ptr<DirectNetwork> network_;
    const std::vector<Dims> outputs_;
    const bool gives_tuple_;
  };

  // Run() reads them where they are. oneDNN's maximum of a number and what is no number is the
  // number.
  bool Takes(const std::vector<at::Tensor>& inputs) const override {
    return std::all_of(inputs.begin(), inputs.end(), [](const at::Tensor& input) {
      return input.scalar_type() == at::kFloat && input.is_contiguous() &&
             AllFinite(input.const_data_ptr<float>(), input.numel());
    });
  }

  std::unique_ptr<const Compiled> Compile(const torch::jit::Stack& stack) override {
    const ReadNetwork read = ReadNetworkOf(*graph_, stack);
    std::vector<Dims> outputs;
    for (const size_t output : read.network.outputs) {
      outputs.push_back(read.network.nodes[output].dims);
    }
    return std::make_unique<Direct>(DirectNetwork::Compile(read.network, weights_),
                                    std::move(outputs), read.gives_tuple);
  }

  const std::shared_ptr<torch::jit::Graph> graph_;
  PackedWeights weights_;
};

}  // namespace

std::unique_ptr<TorchPlan> MakeDirectPlan(torch::jit::Module frozen) {
  return std::make_unique<DirectPlan>(std::move(frozen));
}

}  // namespace torchd
