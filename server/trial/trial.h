// A trial: one run of something that may crash, hang or lie, in a process of its own.
//
// server/trial at a glance: the daemon's threads call Trials::Run() (trials.h). The nursery
// (nursery.h), one helper process of the same executable, forks a child per trial
// (trial_child.h), buries it and reports its end (wire.h), which verdict.h turns into a status.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

#include "server/base/clock.h"

namespace torchd {

inline constexpr size_t kTrialRequestBytesMax = size_t{64} << 10;

// What one trial may use. All are enforced by the kernel or by another process.
struct TrialLimits {
  std::chrono::milliseconds time_max{60'000};
  // Address space beyond what the nursery itself has (RLIMIT_AS), so it counts what is reserved,
  // not only what is touched: a model file that is mapped and copied counts twice.
  int64_t memory_bytes_max = int64_t{4} << 30;
  int files_max = 256;         // Open files (RLIMIT_NOFILE).
  int64_t file_bytes_max = 0;  // Size of a file it writes (RLIMIT_FSIZE); 0: it writes none.
};

struct TrialAnswer {
  std::string payload;  // Made by a process that may be hostile: check every byte.
  // Memory of its own, beyond what it inherited from the nursery and shares with it; pages of files
  // do not count. As the trial says: one that lies does so within what the kernel saw of it.
  int64_t memory_bytes = 0;       // When it answered.
  int64_t memory_peak_bytes = 0;  // At least this much at its peak.
  Duration took{};                // From its fork to its end.
};

}  // namespace torchd
