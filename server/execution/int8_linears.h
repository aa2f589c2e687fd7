// Linear layers in 8 bits. Private to the folder `execution`.
#pragma once

#include <torch/csrc/jit/api/module.h>

namespace torchd {

// A frozen copy, in which linear layers with constant weights have them in 8 bits, for each output
// on its own; their inputs are quantized by the range that each run finds. Throws where there are
// none.
torch::jit::Module WithInt8Linears(const torch::jit::Module& module);

}  // namespace torchd
