// The threads that bring versions to serve, as many at a time as there are places. Who waits long
// for something outside, such as a trial that hangs, gives up its place until that has ended: the
// next version does not wait for it.
//
// Thread-safety: all methods. Ownership: a task is owned until it has run. Threads are started when
// they are needed and joined by Stop().
#pragma once

#include <deque>
#include <functional>
#include <set>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/base/clock.h"

namespace torchd {

class Loaders {
 public:
  struct Limits {
    int places = 1;
    int aside_max = 16;  // Tasks beside those, which have given up their place.
    Duration patience = std::chrono::seconds(3);  // Before a task that waits gives it up.
  };

  explicit Loaders(Limits limits) : limits_(limits) {}
  ~Loaders() { Stop(); }

  // Runs what was accepted, then joins. Nothing may be submitted after.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  // First come, first served.
  void Submit(std::function<void()> task) ABSL_LOCKS_EXCLUDED(mutex_);

  // Only from a task: runs `wait`, which uses no place once it has taken longer than `patience`.
  // Returns when the task has its place back; it comes before those that have not begun.
  void Aside(const std::function<void()>& wait) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);
  void StartThreadIfNeeded() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool PlaceFree() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool TaskDue() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AwaitChange() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Limits limits_;
  const SteadyClock clock_;
  absl::Mutex mutex_;
  absl::CondVar changed_;  // A condition could not tell that time has passed.
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  int working_ ABSL_GUARDED_BY(mutex_) = 0;               // Without those aside.
  std::multiset<Instant> aside_ ABSL_GUARDED_BY(mutex_);  // When each gives up its place.
  int returning_ ABSL_GUARDED_BY(mutex_) = 0;             // Have waited, and want a place again.
  int idle_ ABSL_GUARDED_BY(mutex_) = 0;                  // Threads without a task.
  int started_ ABSL_GUARDED_BY(mutex_) = 0;               // Threads, in all.
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace torchd
