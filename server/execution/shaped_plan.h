// Plans that compile a frozen module anew for each shape of its inputs. Private to the folder
// `execution`.
#pragma once

#include <ATen/core/stack.h>
#include <torch/csrc/jit/api/module.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/execution/torch_forward.h"
#include "server/execution/torch_plan.h"

namespace torchd {

class ShapedPlan : public TorchPlan {
 public:
  c10::IValue Run(std::vector<at::Tensor> inputs) final;
  void Settle() final { settled_ = true; }

 protected:
  class Compiled {
   public:
    virtual ~Compiled() = default;
    virtual c10::IValue Run(torch::jit::Stack stack) const = 0;
  };

  explicit ShapedPlan(torch::jit::Module module) : forward_(std::move(module)) {}

  // Of forward(), inlined.
  std::shared_ptr<torch::jit::Graph> CopyGraph() const;

 private:
  using Shapes = std::vector<int64_t>;
  using Code = std::shared_ptr<const Compiled>;

  // What it does not take is run by the module itself.
  virtual bool Takes(const std::vector<at::Tensor>& /*inputs*/) const { return true; }

  // Called for one shape at a time.
  virtual std::unique_ptr<const Compiled> Compile(const torch::jit::Stack& stack) = 0;

  // Null: not for this shape.
  Code CodeFor(const Shapes& shapes, const torch::jit::Stack& stack)
      ABSL_LOCKS_EXCLUDED(mutex_, compiling_);
  Code Find(const Shapes& shapes) const ABSL_LOCKS_EXCLUDED(mutex_);

  bool IsFull() const ABSL_LOCKS_EXCLUDED(mutex_);

  const Forward forward_;
  std::atomic<bool> settled_{false};
  absl::Mutex compiling_ ABSL_ACQUIRED_BEFORE(mutex_);
  mutable absl::Mutex mutex_;
  std::map<Shapes, Code> codes_ ABSL_GUARDED_BY(mutex_);
};

// By oneDNN Graph. `frozen`: by torch::jit::freeze().
std::unique_ptr<TorchPlan> MakeGraphPlan(torch::jit::Module frozen);

// By oneDNN's primitives, without LibTorch (server/direct). Throws where the module has operations
// that it cannot do.
std::unique_ptr<TorchPlan> MakeDirectPlan(torch::jit::Module frozen);

}  // namespace torchd
