// Keeps one nursery: starts it when somebody wants it, buries it when it dies.
//
// Thread-safety: all methods. One thread, joined by the destructor, starts every nursery: the
// kernel ties a nursery's life (PR_SET_PDEATHSIG) to the thread that started it, and a loader's
// thread ends long before the daemon.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/file_descriptor.h"

namespace torchd {

class NurseryKeeper {
 public:
  struct Connection {
    FileDescriptor socket;  // To a nursery that lived a moment ago.
    int64_t nursery = 0;    // Which one, for Discard().
  };

  // `executable`: what to start; `name`: its argv[0]. Starts nothing yet.
  // Makes this process the reaper of orphans below it (PR_SET_CHILD_SUBREAPER), so that what a
  // dying nursery leaves can be found and killed, and makes no zombies where the daemon is PID 1.
  NurseryKeeper(std::string executable, std::string name);
  ~NurseryKeeper();  // Kills the nursery and all trials.

  // To the nursery that lives, or else to a new one. INTERNAL when none can be started;
  // UNAVAILABLE after `wait_max`.
  absl::StatusOr<Connection> Connect(absl::Duration wait_max) ABSL_LOCKS_EXCLUDED(mutex_);

  // Kills it, if it still lives. The next Connect() starts another.
  void Discard(int64_t nursery) ABSL_LOCKS_EXCLUDED(mutex_);

  // Kills it with all trials, and starts no other.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  int64_t nurseries_started() const ABSL_LOCKS_EXCLUDED(mutex_);
  pid_t nursery_pid() const ABSL_LOCKS_EXCLUDED(mutex_);  // 0: none lives.

 private:
  struct Spawned {
    pid_t pid = 0;
    FileDescriptor socket;
  };

  void Keep() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Spawned> Spawn() const;
  void WatchUntilDeath(Spawned nursery) ABSL_LOCKS_EXCLUDED(mutex_);
  void KillCurrent() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool WantedOrStop() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return wanted_ || stopping_; }
  bool Settled() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return socket_.ok() || !wanted_ || stopping_;
  }

  const std::string executable_;
  const std::string name_;

  mutable absl::Mutex mutex_;
  bool wanted_ ABSL_GUARDED_BY(mutex_) = false;  // Somebody waits for a nursery.
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status start_ ABSL_GUARDED_BY(mutex_);  // How the last start went.
  // The living nursery. Its pid is 0 before it is waited for, so that kill() never hits another.
  FileDescriptor socket_ ABSL_GUARDED_BY(mutex_);  // Invalid once it was discarded.
  pid_t pid_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t started_ ABSL_GUARDED_BY(mutex_) = 0;

  std::thread thread_;
};

}  // namespace torchd
