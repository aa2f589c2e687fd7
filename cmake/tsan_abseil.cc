// Tells ThreadSanitizer what absl::Mutex, CondVar and Notification order.
//
// Debian's Abseil is not instrumented: without this every access guarded by an absl::Mutex is
// reported as a race. Linked into each program of the `tsan` preset, these definitions come before
// the library's, in gRPC's code as well, and call them in turn.
//
// Releasing before the real unlock and acquiring after the real lock is exact for mutual exclusion.
// A condition runs inside the library, on whichever thread unlocks, so it is wrapped too.
#include <dlfcn.h>
#include <sanitizer/tsan_interface.h>

#include <atomic>
#include <cstdlib>
#include <string>

#include "absl/base/options.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace {

// Abseil's own search for deadlocks keeps a graph of its own behind a lock that is seen by nobody.
[[maybe_unused]] const bool kNoDeadlockGraph = [] {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return true;
}();

#define TORCHD_TEXT_INNER(name) #name
#define TORCHD_TEXT(name) TORCHD_TEXT_INNER(name)

// The library's own function, by the rest of its mangled name after the inline namespace.
template <typename Function>
Function* Real(const char* rest, bool is_const = false) {
  const std::string inline_namespace = TORCHD_TEXT(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  const std::string name = std::string(is_const ? "_ZNK4absl" : "_ZN4absl") +
                           std::to_string(inline_namespace.size()) + inline_namespace + rest;
  void* found = dlsym(RTLD_NEXT, name.c_str());
  if (found == nullptr) std::abort();
  return reinterpret_cast<Function*>(found);
}

// Evaluates a condition with the mutex's order made visible around it.
class SeenCondition {
 public:
  SeenCondition(absl::Mutex* mutex, const absl::Condition& condition)
      : mutex_(mutex), condition_(&condition), wrapped_(&SeenCondition::Evaluate, this) {}
  const absl::Condition& get() const { return wrapped_; }

 private:
  // Reads this object before the acquire that orders it.
  __attribute__((no_sanitize("thread"))) static bool Evaluate(SeenCondition* self) {
    __tsan_acquire(self->mutex_);
    const bool holds = self->condition_->Eval();
    __tsan_release(self->mutex_);
    return holds;
  }

  absl::Mutex* mutex_;
  const absl::Condition* condition_;
  absl::Condition wrapped_;
};

template <typename Wait>
auto WaitHolding(absl::Mutex* mutex, Wait wait) {
  struct Acquire {  // After the wait, whatever it returns.
    absl::Mutex* mutex;
    ~Acquire() { __tsan_acquire(mutex); }
  } acquire{mutex};
  __tsan_release(mutex);
  return wait();
}

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

#define TORCHD_LOCK(method, rest)                                \
  void Mutex::method() {                                         \
    static auto* const real = Real<void(Mutex*)>("5Mutex" rest); \
    real(this);                                                  \
    __tsan_acquire(this);                                        \
  }
#define TORCHD_TRY_LOCK(method, rest)                            \
  bool Mutex::method() {                                         \
    static auto* const real = Real<bool(Mutex*)>("5Mutex" rest); \
    const bool locked = real(this);                              \
    if (locked) __tsan_acquire(this);                            \
    return locked;                                               \
  }
#define TORCHD_UNLOCK(method, rest)                              \
  void Mutex::method() {                                         \
    static auto* const real = Real<void(Mutex*)>("5Mutex" rest); \
    __tsan_release(this);                                        \
    real(this);                                                  \
  }
#define TORCHD_WAIT(method, rest)                                                  \
  void Mutex::method(const Condition& condition) {                                 \
    static auto* const real = Real<void(Mutex*, const Condition&)>("5Mutex" rest); \
    SeenCondition seen(this, condition);                                           \
    WaitHolding(this, [&] { real(this, seen.get()); });                            \
  }
#define TORCHD_WAIT_UNTIL(method, Until, rest)                                            \
  bool Mutex::method(const Condition& condition, Until until) {                           \
    static auto* const real = Real<bool(Mutex*, const Condition&, Until)>("5Mutex" rest); \
    SeenCondition seen(this, condition);                                                  \
    return WaitHolding(this, [&] { return real(this, seen.get(), until); });              \
  }

TORCHD_LOCK(Lock, "4LockEv")
TORCHD_LOCK(ReaderLock, "10ReaderLockEv")
TORCHD_TRY_LOCK(TryLock, "7TryLockEv")
TORCHD_TRY_LOCK(ReaderTryLock, "13ReaderTryLockEv")
TORCHD_UNLOCK(Unlock, "6UnlockEv")
TORCHD_UNLOCK(ReaderUnlock, "12ReaderUnlockEv")
TORCHD_WAIT(Await, "5AwaitERKNS0_9ConditionE")
TORCHD_WAIT(LockWhen, "8LockWhenERKNS0_9ConditionE")
TORCHD_WAIT(ReaderLockWhen, "14ReaderLockWhenERKNS0_9ConditionE")
TORCHD_WAIT_UNTIL(AwaitWithTimeout, Duration, "16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE")
TORCHD_WAIT_UNTIL(AwaitWithDeadline, Time, "17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE")
TORCHD_WAIT_UNTIL(LockWhenWithTimeout, Duration,
                  "19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE")
TORCHD_WAIT_UNTIL(LockWhenWithDeadline, Time, "20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE")

void CondVar::Wait(Mutex* mutex) {
  static auto* const real = Real<void(CondVar*, Mutex*)>("7CondVar4WaitEPNS0_5MutexE");
  WaitHolding(mutex, [&] { real(this, mutex); });
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static auto* const real = Real<bool(CondVar*, Mutex*, Duration)>(
      "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  return WaitHolding(mutex, [&] { return real(this, mutex, timeout); });
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* const real =
      Real<bool(CondVar*, Mutex*, Time)>("7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  return WaitHolding(mutex, [&] { return real(this, mutex, deadline); });
}

void Notification::Notify() {
  static auto* const real = Real<void(Notification*)>("12Notification6NotifyEv");
  __tsan_release(this);
  // HasBeenNotified() is inline, an acquire of this flag; the store is the library's.
  __tsan_release(&notified_yet_);
  real(this);
}

void Notification::WaitForNotification() const {
  static auto* const real =
      Real<void(const Notification*)>("12Notification19WaitForNotificationEv", true);
  real(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static auto* const real = Real<bool(const Notification*, Duration)>(
      "12Notification30WaitForNotificationWithTimeoutENS0_8DurationE", true);
  const bool notified = real(this, timeout);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  static auto* const real = Real<bool(const Notification*, Time)>(
      "12Notification31WaitForNotificationWithDeadlineENS0_4TimeE", true);
  const bool notified = real(this, deadline);
  if (notified) __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
