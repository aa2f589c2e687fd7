#include "server/registry/loaders.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/thread_pool.h"

namespace torchd {

void Loaders::Stop() {
  while (true) {  // A task may start one more thread for the next.
    std::thread thread;
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
      changed_.SignalAll();
      if (threads_.empty()) return;
      thread = std::move(threads_.back());
      threads_.pop_back();
    }
    thread.join();
  }
}

void Loaders::Submit(std::function<void()> task) {
  absl::MutexLock lock(&mutex_);
  tasks_.push_back(std::move(task));
  StartThreadIfNeeded();
  changed_.SignalAll();
}

void Loaders::Aside(const std::function<void()>& wait) {
  std::multiset<Instant>::iterator own;
  {
    absl::MutexLock lock(&mutex_);
    --working_;
    own = aside_.insert(clock_.Now() + limits_.patience);
    changed_.SignalAll();
  }
  wait();
  absl::MutexLock lock(&mutex_);
  const bool gave_up = *own <= clock_.Now();
  aside_.erase(own);
  if (gave_up) {
    ++returning_;
    while (!PlaceFree()) AwaitChange();
    --returning_;
  }
  ++working_;
  changed_.SignalAll();
}

void Loaders::Work() {
  while (true) {
    std::function<void()> task;
    {
      absl::MutexLock lock(&mutex_);
      while (!TaskDue()) {
        if (stopping_ && tasks_.empty()) return;
        AwaitChange();
      }
      task = std::move(tasks_.front());
      tasks_.pop_front();
      --idle_;
      ++working_;
      StartThreadIfNeeded();
    }
    task();
    absl::MutexLock lock(&mutex_);
    --working_;
    ++idle_;
    changed_.SignalAll();
  }
}

// There is always one thread that sees when a place becomes free, be it by the passing of time.
void Loaders::StartThreadIfNeeded() {
  if (tasks_.empty() || idle_ > 0 || started_ == limits_.places + limits_.aside_max) return;
  ++idle_;
  threads_.emplace_back([this, name = absl::StrCat("load-", started_++)] {
    NameThisThread(name);
    Work();
  });
}

bool Loaders::PlaceFree() const {
  const auto still_there = std::distance(aside_.upper_bound(clock_.Now()), aside_.end());
  return working_ + still_there < limits_.places;
}

bool Loaders::TaskDue() const { return !tasks_.empty() && returning_ == 0 && PlaceFree(); }

void Loaders::AwaitChange() {
  const Instant now = clock_.Now();
  const auto next = aside_.upper_bound(now);
  changed_.WaitWithTimeout(
      &mutex_, next == aside_.end() ? absl::InfiniteDuration() : absl::FromChrono(*next - now));
}

}  // namespace torchd
