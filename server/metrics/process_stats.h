// What the kernel says about this process.
#pragma once

#include <optional>

namespace torchd {

struct ProcessStats {
  double start_time_seconds = 0;  // Since the epoch.
  double resident_bytes = 0;
  double open_fds = 0;
  double threads = 0;
};

// Reads /proc; nothing where that is not mounted. Thread-safe.
std::optional<ProcessStats> ReadProcessStats();

}  // namespace torchd
