// `torchd bench`: what a model file makes of an input, and how fast, without a server.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/offline/arguments.h"

namespace torchd {

// What is printed. INVALID_ARGUMENT, NOT_FOUND: what was asked for cannot be; any other error: the
// model does not load or run. Runs in a process of its own, on one thread that becomes an
// executor's.
absl::StatusOr<std::string> RunOfflineBench(const OfflineArguments& arguments);

}  // namespace torchd
