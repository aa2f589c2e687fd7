// Time as a parameter, so that tests decide what time it is.
//
// Example:
//   SteadyClock clock;
//   Instant deadline = clock.Now() + std::chrono::milliseconds(50);
#pragma once

#include <atomic>
#include <chrono>

namespace torchd {

// A point on the monotonic clock. Wall-clock jumps do not move it.
using Instant = std::chrono::steady_clock::time_point;
using Duration = std::chrono::steady_clock::duration;

// "No deadline": later than everything.
inline constexpr Instant kNever = Instant::max();

// Thread-safety: all implementations are thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
};

class SteadyClock final : public Clock {
 public:
  Instant Now() const override { return std::chrono::steady_clock::now(); }
};

// Stands still until a test moves it.
class ManualClock final : public Clock {
 public:
  Instant Now() const override {
    return Instant(Duration(since_start_.load(std::memory_order_relaxed)));
  }
  void Advance(Duration by) { since_start_.fetch_add(by.count(), std::memory_order_relaxed); }

 private:
  std::atomic<Duration::rep> since_start_{Duration(std::chrono::hours(1)).count()};
};

inline long Microseconds(Duration duration) {
  return static_cast<long>(std::chrono::duration_cast<std::chrono::microseconds>(duration).count());
}

inline long Milliseconds(Duration duration) { return Microseconds(duration) / 1000; }

inline double Seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace torchd
