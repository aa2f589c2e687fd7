// The threads of one device that run models, and the queue they share. Nothing else runs a model.
//
// Work-conserving: an idle executor takes a request the moment it is submitted.
//
// Thread-safety: all methods.
// Ownership: a submitted request is owned until its completion has returned. The destructor runs
// what was accepted, then joins.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"
#include "server/batching/batch_queue.h"
#include "server/inference/request.h"

namespace torchd {

class Executors {
 public:
  struct Options {
    std::string device = "cpu";  // Names the threads.
    int threads = 1;             // Executors; each may open an OpenMP team of its own.
    BatchQueue::Limits queue;
    // Runs first on each executor's thread, before any model: sizes its OpenMP team, flushes
    // denormals.
    std::function<void()> prepare_thread = [] {};
  };

  Executors(Options options, const Clock& clock);
  ~Executors();

  // Moves from `request` only when it returns OK. RESOURCE_EXHAUSTED when the queue is full.
  absl::Status Submit(std::unique_ptr<Request>&& request) ABSL_LOCKS_EXCLUDED(mutex_);

  // Runs `task` once on each executor's thread, between requests, and returns when all have:
  // warming up. Must not be called on an executor's thread.
  void RunOnEach(const std::function<void()>& task) ABSL_LOCKS_EXCLUDED(mutex_);

  int rows_waiting() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Executors whose present run began before `start`.
  int BusySince(Instant start) const;

  int rows_running() const { return rows_running_.load(std::memory_order_relaxed); }
  int64_t rows_run() const { return rows_run_.load(std::memory_order_relaxed); }
  const Options& options() const { return options_; }

 private:
  void Work(size_t self) ABSL_LOCKS_EXCLUDED(mutex_);
  void Run(Request& request);
  void DropAll(BatchQueue::Due& due);

  const Options options_;
  const Clock& clock_;
  std::atomic<int> rows_running_{0};
  std::atomic<int64_t> rows_run_{0};

  std::vector<std::atomic<Instant>> running_since_;  // Per executor; kNever: idle.

  mutable absl::Mutex mutex_;
  absl::CondVar work_or_stop_;
  BatchQueue queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::deque<std::function<void()>>> tasks_ ABSL_GUARDED_BY(mutex_);  // Per executor.
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace torchd
