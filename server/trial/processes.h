// What /proc and wait() tell about processes.
//
// Thread-safety: functions without state.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace torchd {

struct ProcessMemory {
  int64_t address_space_bytes = 0;
  int64_t private_bytes = 0;  // Resident and of no file: heap, stacks, memory shared on purpose.
  int64_t file_bytes = 0;     // Resident pages of files, such as the code of libraries.
  int64_t peak_bytes = 0;     // The most that both were together.
};
ProcessMemory OwnMemory();  // All 0 where /proc cannot be read.

// Children of all threads of this process, dead ones that were not waited for included.
std::vector<pid_t> ChildProcesses();

// SIGKILL to all, then waits for each. Requires: children of this process, not waited for.
void KillAndReap(const std::vector<pid_t>& children);

// The child has ended; it stays a zombie, so that its pid cannot become another's.
bool HasEnded(pid_t child);

// "was killed by SIGSEGV (Segmentation fault)" or "exited with code 3".
std::string DescribeWaitStatus(int wait_status);

}  // namespace torchd
