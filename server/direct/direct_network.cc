#include "server/direct/direct_network.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/direct/lowering.h"

namespace torchd {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

struct Free {
  void operator()(float* memory) const { std::free(memory); }
};

std::unique_ptr<float, Free> TakeMemory(size_t floats) {
  const size_t bytes = (floats * sizeof(float) + kHugePage - 1) / kHugePage * kHugePage;
  void* const memory = std::aligned_alloc(kHugePage, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  madvise(memory, bytes, MADV_HUGEPAGE);
  return std::unique_ptr<float, Free>(static_cast<float*>(memory));
}

// What one run needs for itself.
class Slot {
 public:
  explicit Slot(const Lowered& lowered)
      : memory_(TakeMemory(lowered.count)), stream_(DirectEngine()) {
    for (const Step& step : lowered.steps) {
      Bound& bound = bound_.emplace_back();
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

  void Run(const Lowered& lowered, absl::Span<const float* const> inputs) {
    for (const auto& [memory, at] : inputs_) {
      dnnl::error::wrap_c_api(dnnl_memory_set_data_handle(memory, const_cast<float*>(inputs[at])),
                              "an input");
    }
    const Addresses addresses = {memory_.get(), inputs};
    for (size_t i = 0; i < lowered.steps.size(); ++i) {
      const Step& step = lowered.steps[i];
      if (step.kernel) {
        step.kernel(addresses);
        continue;
      }
      const std::vector<dnnl_exec_arg_t>& arguments = bound_[i].arguments;
      const dnnl_status_t ran =
          dnnl_primitive_execute(step.primitive.get(), stream_.get(),
                                 static_cast<int>(arguments.size()), arguments.data());
      if (ran != dnnl_success) throw dnnl::error(ran, "a primitive could not run");
    }
  }

  const float* memory() const { return memory_.get(); }

 private:
  struct Bound {
    std::vector<dnnl_exec_arg_t> arguments;
  };
  struct Input {
    dnnl_memory_t memory;
    size_t at;
  };

  const std::unique_ptr<float, Free> memory_;
  dnnl::stream stream_;
  std::vector<Bound> bound_;  // By step.
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
      slot->Run(lowered_, inputs);
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

  std::vector<std::string> Describe() const override {
    std::vector<std::string> lines;
    for (const Step& step : lowered_.steps) lines.push_back(step.what);
    return lines;
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
