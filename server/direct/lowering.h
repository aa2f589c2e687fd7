// From operations to steps of oneDNN's primitives and our own kernels. Private to this folder.
#pragma once

#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "server/direct/layouts.h"
#include "server/direct/network.h"
#include "server/direct/primitives.h"

namespace torchd {

// A primitive, or one of our kernels.
struct Step {
  using Kernel = std::function<void()>;
  dnnl::primitive primitive = {};
  std::vector<Argument> arguments = {};
  // The kernel for the memory that begins at `placed`. None of a primitive.
  std::function<Kernel(float* placed)> bind = nullptr;
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
