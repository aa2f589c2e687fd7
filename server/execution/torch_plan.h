// A TorchScript module ready to run by one of the plans. Private to the folder `execution`.
//
// Thread-safety: Run() from any thread. What is compiled for a shape is compiled by its first run.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/api/module.h>

#include <memory>
#include <vector>

#include "server/config/plan.h"

namespace torchd {

class TorchPlan {
 public:
  virtual ~TorchPlan() = default;

  // Throws what LibTorch throws.
  virtual c10::IValue Run(std::vector<at::Tensor> inputs) = 0;

  // From now on a shape that was not run before is run without compiling for it.
  virtual void Settle() {}
};

// `module`: as it was read, in evaluation mode; not changed. Throws what LibTorch throws, where the
// module cannot be run by `plan`.
std::unique_ptr<TorchPlan> MakeTorchPlan(const torch::jit::Module& module, Plan plan);

}  // namespace torchd
