// What a status says, as a string that matchers take.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace torchd {

inline std::string Message(const absl::Status& status) { return std::string(status.message()); }

}  // namespace torchd
