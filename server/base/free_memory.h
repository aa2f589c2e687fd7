// How much memory this process may still take before the kernel ends it.
//
// Thread-safety: a function without state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace torchd {

struct MemorySources {
  std::string proc = "/proc";
  std::string cgroups = "/sys/fs/cgroup";
};

// Bytes: the least of what the machine has available and what each control group around the
// process, of version 1 or 2, leaves. What only repeats files counts as free. None: nothing of it
// can be read.
std::optional<int64_t> FreeMemory(const MemorySources& sources = {});

}  // namespace torchd
