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
  const auto placed = set_.emplace(alarm, std::move(ring)).first;
  if (placed == set_.begin()) changed_.Signal();
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
      if (first == set_.end()) {
        changed_.Wait(&mutex_);
      } else if (first->first.first > now) {
        changed_.WaitWithTimeout(&mutex_, absl::FromChrono(first->first.first - now));
      } else {
        ring = std::move(first->second);
        set_.erase(first);
      }
    }
    if (ring) ring();
  }
}

}  // namespace torchd
