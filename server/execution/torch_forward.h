// A module's forward(), called with less ado. Private to the folder `execution`.
#pragma once

#include <ATen/core/stack.h>
#include <torch/csrc/jit/api/module.h>

#include <utility>
#include <vector>

namespace torchd {

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
  static std::vector<c10::IValue> DefaultsOf(const torch::jit::Function& function) {
    std::vector<c10::IValue> defaults;
    for (const c10::Argument& argument : function.getSchema().arguments()) {
      if (argument.default_value()) defaults.push_back(*argument.default_value());
    }
    return defaults;
  }

  const torch::jit::Module module_;
  const c10::IValue self_;
  torch::jit::Function& function_;           // Of module_; safe to run concurrently.
  const std::vector<c10::IValue> defaults_;  // Of the arguments after the inputs.
};

}  // namespace torchd
