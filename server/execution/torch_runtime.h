// LibTorch's process-wide and per-thread settings. No LibTorch type crosses this header.
//
// One OpenMP team per core in the whole process: only executors open teams, of `threads` each;
// every other thread that touches LibTorch prepares itself as a loader first (docs/decisions/0003).
#pragma once

#include <optional>
#include <string>

namespace torchd {

// Once per process, first of all and before there are other threads: memory that a run has given
// back stays for the next one (executor_memory.h, and likewise what does not come from there).
// Otherwise the C library returns it to the kernel after each run, and the page faults of taking it
// again cost EfficientNet-Lite0 a quarter of its time. Compiled packages will check their inputs,
// and what they print of their errors can be heard.
void PrepareTorchProcess();

// Call first on an executor's thread: its team will have `threads` threads that flush denormals.
void PrepareExecutorThread(int threads);

// Call next on executor `executor`'s thread, where executors have every core: each thread of its
// team stays on a core of its own. Schedulers count threads, not who waits for whom: beside another
// process as busy they leave a team's threads on one core, where they wait for each other in turn.
void KeepTeamOnCores(int threads, int executor);

// Call first on any other thread that touches LibTorch (it loads, or runs something short in the
// place of an executor): it never opens a team.
void PrepareLoaderThread();

// For as long as it lives, the runs of the calling thread have `threads` threads, at most as many
// as an executor has; 0: all of those. A loader's runs have one as ever, but what they compile is
// compiled for `threads`. An executor's team of one leaves its other threads where they are; a team
// of some ends those beyond them, and the next that is larger makes them anew, 17 us each.
class TeamOf {
 public:
  explicit TeamOf(int threads);
  ~TeamOf();
  TeamOf(const TeamOf&) = delete;
  TeamOf& operator=(const TeamOf&) = delete;

 private:
  const int before_;
};

// Has the calling executor's team of `threads` (as above) ready, so that the next run does not make
// its threads: before a run that is timed.
void OpenTeamOf(int threads);

// Around a run of code that was compiled for a number of threads and opens a team of that size on
// whatever thread runs it: on a loader's, the team ends with the run. One that stayed, though idle,
// would have every executor's barrier sleep for good.
class TeamEndsWithRun {
 public:
  TeamEndsWithRun() = default;
  ~TeamEndsWithRun();
  TeamEndsWithRun(const TeamEndsWithRun&) = delete;
  TeamEndsWithRun& operator=(const TeamEndsWithRun&) = delete;
};

// Likewise around a run that may compile: what some libraries compile keeps to the number of
// threads that it was compiled with, so a loader has a team as an executor's for it. For short
// runs: while there are more threads than cores, those that wait for others sleep instead of spin.
class TeamToCompileFor {
 public:
  TeamToCompileFor();

 private:
  std::optional<TeamEndsWithRun> ends_;  // None: nobody's team is larger than one.
};

// What LibTorch takes for the first model of a process, some MiB, it takes here: an archive read,
// frozen and run. Who measures memory afterwards measures the model alone. Starts no thread.
void RunFirstModel();

// Whether a device failed in a way that only a new process mends.
bool DevicePoisoned();

std::string LibTorchVersion();

}  // namespace torchd
