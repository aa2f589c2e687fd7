// Calls back at a point in time, unless called off before it.
//
// Thread-safety: all methods. Ownership: a ring is owned until it has rung or was called off; it
// runs on the alarms' own thread and must not block. The destructor forgets what has not rung.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"

namespace torchd {

class Alarms {
 public:
  using Key = std::pair<Instant, uint64_t>;

  explicit Alarms(const Clock& clock);
  ~Alarms();

  Key Set(Instant when, std::function<void()> ring) ABSL_LOCKS_EXCLUDED(mutex_);

  // Afterwards it does not begin to ring; it may be ringing.
  void CallOff(const Key& alarm) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Watch() ABSL_LOCKS_EXCLUDED(mutex_);

  const Clock& clock_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::map<Key, std::function<void()>> set_ ABSL_GUARDED_BY(mutex_);
  uint64_t made_ ABSL_GUARDED_BY(mutex_) = 0;
  Instant wakes_ ABSL_GUARDED_BY(mutex_) = kNever;  // When the thread looks by itself.
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace torchd
