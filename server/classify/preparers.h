// The threads that decode images and split texts, and the PrepQueue they share.
//
// Thread-safety: all methods.
// Ownership: a task is owned until it has run. The destructor runs what was accepted, then joins.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"
#include "server/base/thread_pool.h"
#include "server/classify/prep_queue.h"

namespace torchd {

class Preparers {
 public:
  Preparers(PrepQueue::Limits limits, const Clock& clock);

  // Refuses as PrepQueue::Push() says; moves from `task` only when it returns OK.
  absl::Status Submit(PrepTask&& task, const PrepQueue::Runs& runs) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void PrepareNext() ABSL_LOCKS_EXCLUDED(mutex_);

  const Clock& clock_;
  absl::Mutex mutex_;
  PrepQueue queue_ ABSL_GUARDED_BY(mutex_);
  ThreadPool threads_;  // Has one task for each that waits; which it prepares is decided last.
};

}  // namespace torchd
