// The loop that everybody writes: TorchScript as it was saved, run again and again. In a file of
// its own, for LibTorch brings headers of another Protocol Buffers along.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "server/inference/tensor.h"

namespace torchd {

// One run of the model with these rows as a batch of 1. Throws what LibTorch throws.
std::function<void()> ClassicLoop(const std::string& model_file, const std::vector<Tensor>& row);

}  // namespace torchd
