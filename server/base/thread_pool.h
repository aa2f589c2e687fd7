// A fixed number of named threads that run what is submitted, first come first served.
//
// Thread-safety: all methods. Ownership: a task is owned until it has run. The destructor runs what
// was accepted, then joins.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace torchd {

class ThreadPool {
 public:
  struct Limits {
    int threads = 1;
    int tasks_waiting_max = 1024;  // Submit() refuses beyond this.
  };

  // `name`: at most 12 characters, shown by `top -H` and in core dumps.
  ThreadPool(const std::string& name, Limits limits);
  ~ThreadPool();

  // False when the queue is full; then `task` was not taken.
  [[nodiscard]] bool Submit(std::function<void()> task) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);
  bool TaskOrStop() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return stopping_ || !tasks_.empty();
  }

  const Limits limits_;
  absl::Mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

// Names the calling thread; longer names are cut to the kernel's 15 characters.
void NameThisThread(const std::string& name);

// Of this machine; at least 1.
int Cores();

}  // namespace torchd
