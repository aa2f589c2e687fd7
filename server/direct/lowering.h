// From operations to steps of oneDNN's primitives and our own kernels. Private to this folder.
#pragma once

#include <functional>
#include <memory>
#include <oneapi/dnnl/dnnl.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "server/direct/network.h"
#include "server/direct/primitives.h"

namespace torchd {

// Where a run finds its memory.
struct Addresses {
  float* placed = nullptr;
  absl::Span<const float* const> inputs;
};

struct Argument {
  enum class Where { kPlaced, kInput, kConstant };
  int id = 0;  // DNNL_ARG_SRC and so on.
  Where where = Where::kPlaced;
  size_t at = 0;  // Floats from the beginning; of kInput: which one.
  dnnl::memory::desc layout = {};
  std::shared_ptr<dnnl::memory> constant = nullptr;
};

struct Step {
  std::string what;
  dnnl::primitive primitive = {};
  std::vector<Argument> arguments = {};
  std::function<void(const Addresses&)> kernel = nullptr;  // Instead of a primitive.
};

struct Lowered {
  struct Output {
    size_t at = 0;
    size_t count = 0;
  };
  std::vector<Step> steps;
  std::vector<Output> outputs;
  size_t count = 0;  // Floats of memory.
};

Lowered Lower(const Network& network, PackedWeights::Store& weights);

}  // namespace torchd
