// The nursery: a helper process that runs trials in children of its own.
//
// The daemon has many threads, and a fork() of such a process may not even allocate. So the daemon
// starts its own executable a second time; that process has one thread, has the libraries loaded,
// and forks a child per trial within milliseconds.
//
// Example, first thing in main():
//   if (const auto socket = torchd::StartedAsNursery(argc, argv)) {
//     _exit(torchd::ServeTrials(*socket, [](absl::string_view request) { return TryModel(request);
//     }));
//   }
//
// Thread-safety: none; REQUIRES a process with one thread.
#pragma once

#include <functional>
#include <optional>

#include "server/trial/trial_child.h"

namespace torchd {

// argv[1] of a nursery; argv[2] is the descriptor of its socket.
inline constexpr char kNurseryFlag[] = "--serve-trials";

// The socket to the daemon when NurseryKeeper started this process, else empty.
std::optional<int> StartedAsNursery(int argc, const char* const* argv);

// Serves until the daemon is gone, and then kills what still runs. Returns the exit code: 2 when
// `socket` does not lead to this process's parent, else 0. `prepare` runs first of all, for what
// every trial would have to do otherwise; it leaves the process with one thread.
//
// A trial's end is reported after its process group was killed and every orphan it left was found
// and buried (the nursery is their subreaper). Ignores SIGTERM, SIGINT and SIGHUP: a terminal's
// Ctrl-C must not fail the trials of a daemon that drains.
int ServeTrials(
    int socket, const TrialFunction& trial, const std::function<void()>& prepare = [] {});

}  // namespace torchd
