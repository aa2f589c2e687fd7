#include "server/base/alarms.h"

#include "absl/time/time.h"
#include "server/base/thread_pool.h"

namespace torchd {

Alarms::Alarms(const Clock& clock) : clock_(clock), thread_([this] { Watch(); }) {}

Alarms::~Alarms() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.Signal();
  }
  thread_.join();
}

Alarms::Key Alarms::Set(Instant when, std::function<void()> ring) {
  absl::MutexLock lock(&mutex_);
  const Key alarm(when, ++made_);
  set_.emplace(alarm, std::move(ring));
  if (when < wakes_) changed_.Signal();
  return alarm;
}

void Alarms::CallOff(const Key& alarm) {
  std::function<void()> dropped;  // Destroyed after the lock is released.
  absl::MutexLock lock(&mutex_);
  const auto found = set_.find(alarm);
  if (found == set_.end()) return;
  dropped = std::move(found->second);
  set_.erase(found);
}

void Alarms::Watch() {
  NameThisThread("alarms");
  while (true) {
    std::function<void()> ring;
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
      const Instant now = clock_.Now();
      const auto first = set_.begin();
      if (first == set_.end() && wakes_ <= now) wakes_ = kNever;
      if (first == set_.end() || first->first.first > now) {
        // A time that was called off is kept: to wake for nothing now and then costs less than a
        // signal for each call.
        if (first != set_.end()) wakes_ = first->first.first;
        changed_.WaitWithTimeout(
            &mutex_, wakes_ == kNever ? absl::InfiniteDuration() : absl::FromChrono(wakes_ - now));
      } else {
        ring = std::move(first->second);
        set_.erase(first);
      }
    }
    if (ring) ring();
  }
}

}  // namespace torchd
