// What a model takes where nobody says it: read from the example it was traced with or from the
// parameters that its inputs meet first, else what classifiers usually take. A trial run decides.
// Private to the folder `execution`.
//
// Thread-safety: functions without state.
#pragma once

#include <torch/script.h>

#include <string>
#include <vector>

#include "server/execution/tensor_model.h"

namespace torchd {

// Guesses for a TorchScript archive, the likeliest first; never empty. `frozen`: its parameters are
// constants; without that only the example tells. `names`: of the inputs of `forward`.
std::vector<Inputs> GuessInputs(const std::string& path, const torch::jit::Module& frozen,
                                const std::vector<std::string>& names);

// Without a look at the model: what its names say, else pictures, else ids.
std::vector<Inputs> UsualInputs(const std::vector<std::string>& names);

}  // namespace torchd
