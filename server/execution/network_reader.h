// Reads a frozen TorchScript graph as a network of server/direct, for inputs of given shapes: what
// depends on shapes and constants alone is computed, the rest must be operations that a network
// has. Private to the folder `execution`.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/csrc/jit/ir/ir.h>

#include <memory>
#include <vector>

#include "server/direct/network.h"

namespace torchd {

// Throws, naming an operation, where no network for any shape could be read.
void CheckReadable(const torch::jit::Graph& graph);

struct ReadNetwork {
  Network network;
  bool gives_tuple = false;
};

// `graph`: inlined; its inputs are the module and then tensors of the shapes of `inputs`, and what
// has a constant value. Throws what LibTorch throws, and where there is an operation that networks
// do not have.
ReadNetwork ReadNetworkOf(const torch::jit::Graph& graph, const std::vector<c10::IValue>& inputs);

}  // namespace torchd
