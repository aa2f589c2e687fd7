#include "bench/classic_loop.h"

#include <torch/script.h>

#include <memory>

namespace torchd {

std::function<void()> ClassicLoop(const std::string& model_file, const std::vector<Tensor>& row) {
  auto module = std::make_shared<torch::jit::Module>(torch::jit::load(model_file));
  module->eval();
  std::vector<c10::IValue> values;
  for (const Tensor& input : row) {
    std::vector<int64_t> shape = input.shape;
    shape.insert(shape.begin(), 1);
    const auto type = input.type == DataType::kFloat32 ? torch::kFloat32 : torch::kInt64;
    values.emplace_back(
        torch::from_blob(const_cast<char*>(input.bytes.data()), shape, type).clone());
  }
  return [module, values] {
    const torch::NoGradGuard no_grad;
    module->forward(values);
  };
}

}  // namespace torchd
