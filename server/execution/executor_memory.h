// The memory that LibTorch takes on the CPU. Every run of a fixed shape asks for the same blocks in
// the same order, so an executor keeps those it gives back for its next run: no look-up in a heap
// that all threads share, no page faults, huge pages for what is large.
//
// A block belongs to the thread that took it. Any thread may give it back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "server/base/clock.h"

namespace torchd {

// LibTorch asks here from now on. Once per process, before it has taken anything.
void InstallExecutorMemory();

// The calling thread keeps what it gives back. Of threads that run models over and over.
void KeepMemoryOfThisThread();

// Bytes that `run` has in use at most at once, beyond what this thread had before; 0 on a thread
// that does not keep what it gives back.
int64_t MemoryTakenBy(const std::function<void()>& run);

// Hands to the machine what no thread has used for `unused`; how many bytes that was.
size_t ReleaseUnusedMemory(Duration unused);

// What threads keep and do not use at the moment.
size_t KeptMemoryBytes();

}  // namespace torchd
