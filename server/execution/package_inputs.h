// What a compiled package asks of its inputs, read from the checks in the C++ code beside it.
// Private to the folder `execution`.
//
// Thread-safety: functions without state.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "server/execution/tensor_model.h"

namespace torchd {

// One input for each name, sizes that the code does not fix being -1; none where `source` has no
// checks for all of them, or of types that requests cannot have. `source`: as inductor writes it,
// or anything.
std::optional<Inputs> CheckedInputs(const std::string& source,
                                    const std::vector<std::string>& names);

}  // namespace torchd
