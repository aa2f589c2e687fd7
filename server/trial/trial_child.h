// The process of one trial, from its fork to its end.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/trial/wire.h"

namespace torchd {

// From the bytes of Trials::Run() to the bytes of its answer. What it throws ends the process.
using TrialFunction = std::function<absl::StatusOr<std::string>(absl::string_view request)>;

// Where the trial finds the pipe for its answer; a test that cheats needs it.
inline constexpr int kAnswerDescriptor = 3;

// Binds itself to the nursery's life, closes all descriptors but the answer's (0, 1 and 2 become
// /dev/null), takes the limits on, runs, answers and exits without running destructors.
// Requires: a process just forked off the nursery, which has no other threads.
[[noreturn]] void RunTrialChild(const TrialOrder& order, pid_t nursery, const TrialFunction& trial);

}  // namespace torchd
