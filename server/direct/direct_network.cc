#include "server/direct/direct_network.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/direct/lowering.h"
#include "server/direct/placement.h"
#include "server/direct/primitives.h"

namespace torchd {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};

std::unique_ptr<float, Free> TakeMemory(size_t floats) {
  const auto bytes =
      static_cast<size_t>(RoundUp(static_cast<int64_t>(floats * sizeof(float)), kHugePage));
  void* const memory = std::aligned_alloc(kHugePage, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  madvise(memory, bytes, MADV_HUGEPAGE);
  return std::unique_ptr<float, Free>(static_cast<float*>(memory));
}

// What one run needs for itself. The steps outlive it.
class Slot {
 public:
  explicit Slot(const Lowered& lowered)
      : memory_(TakeMemory(lowered.count)), stream_(DirectEngine()) {
    for (const Step& step : lowered.steps) {
      Bound& bound = bound_.emplace_back();
      if (step.bind) bound.kernel = step.bind(memory_.get());
      bound.primitive = step.primitive.get(/*allow_empty=*/true);
      for (const Argument& argument : step.arguments) {
        if (argument.where == Argument::Where::kConstant) {
          bound.arguments.push_back({argument.id, argument.constant->get()});
          continue;
        }
        const bool input = argument.where == Argument::Where::kInput;
        memories_.emplace_back(argument.layout, DirectEngine(),
                               input ? nullptr : memory_.get() + argument.at);
        bound.arguments.push_back({argument.id, memories_.back().get()});
        if (input) inputs_.push_back({memories_.back().get(), argument.at});
      }
    }
  }

  void Run(absl::Span<const float* const> inputs) {
    for (const auto& [memory, at] : inputs_) {
      dnnl::error::wrap_c_api(dnnl_memory_set_data_handle(memory, const_cast<float*>(inputs[at])),
                              "an input");
    }
    for (const Bound& bound : bound_) {
      if (bound.kernel) {
        bound.kernel();
        continue;
      }
      const dnnl_status_t ran =
          dnnl_primitive_execute(bound.primitive, stream_.get(),
                                 static_cast<int>(bound.arguments.size()), bound.arguments.data());
      if (ran != dnnl_success) throw dnnl::error(ran, "a primitive could not run");
    }
  }

  const float* memory() const { return memory_.get(); }

 private:
  // A step as it runs in this memory: a kernel, or a primitive with its arguments.
  struct Bound {
    Step::Kernel kernel;
    dnnl_primitive_t primitive = nullptr;
    std::vector<dnnl_exec_arg_t> arguments;
  };
  struct Input {
    dnnl_memory_t memory;
    size_t at;
  };

  const std::unique_ptr<float, Free> memory_;
  dnnl::stream stream_;
  std::vector<Bound> bound_;
  std::vector<dnnl::memory> memories_;
  std::vector<Input> inputs_;
};

// As everybody else says it.
[[noreturn]] void Rethrow(const dnnl::error& error) {
  if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
  throw std::runtime_error(error.message);
}

class Compiled final : public DirectNetwork {
 public:
  explicit Compiled(Lowered lowered) : lowered_(std::move(lowered)) {}

  void Run(absl::Span<const float* const> inputs, absl::Span<float* const> outputs) override {
    std::unique_ptr<Slot> slot;
    try {
      slot = Take();
      slot->Run(inputs);
    } catch (const dnnl::error& error) {
      Rethrow(error);
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      const Lowered::Output& output = lowered_.outputs[i];
      std::memcpy(outputs[i], slot->memory() + output.at, output.count * sizeof(float));
    }
    absl::MutexLock lock(&mutex_);
    idle_.push_back(std::move(slot));
  }

 private:
  std::unique_ptr<Slot> Take() ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<Slot> slot = std::move(idle_.back());
        idle_.pop_back();
        return slot;
      }
    }
    return std::make_unique<Slot>(lowered_);
  }

  const Lowered lowered_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Slot>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

PackedWeights::PackedWeights() : store_(std::make_unique<Store>()) {}
PackedWeights::~PackedWeights() = default;

std::unique_ptr<DirectNetwork> DirectNetwork::Compile(const Network& network,
                                                      PackedWeights& weights) {
  try {
    return std::make_unique<Compiled>(Lower(Simplified(network), weights.store()));
  } catch (const dnnl::error& error) {
    Rethrow(error);
  }
}

}  // namespace torchd
