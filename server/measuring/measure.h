// The one way in which torchd takes the time of runs: the choice of plans, the Benchmark call and
// `torchd bench` all measure with it.
//
// Example:
//   std::vector<Candidate> candidates = {{.run = [&] { return model.Run(rows, outputs); }}};
//   auto measured = MeasureInTurns(candidates, {.warm_up = 3, .repeats_max = 50}, clock);
//   if (!measured.ok()) return measured.status();
//   Duration usual = Median(measured->front().times());
//
// Thread-safety: none of a Series; whoever runs several at once adds a mutex.
// Time: passed in, or asked of a clock that a test moves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/base/clock.h"

namespace torchd {

struct Candidate {
  std::function<absl::Status()> run;
  // Returns once the device has done all it was given; empty where a run that has returned is done,
  // as on the CPU.
  std::function<void()> synchronise = {};
  // What a run needs that others' runs may have undone, and that is not to count.
  std::function<void()> prepare = {};
};

// One run. The device is idle when its time begins, and again when it ends.
absl::StatusOr<Duration> TimeRun(const Candidate& candidate, const Clock& clock);

struct SeriesLimits {
  int64_t warm_up = 0;  // Runs before those that count.
  int64_t repeats_min = 1;
  int64_t repeats_max = std::numeric_limits<int64_t>::max();
  // From the first run that counts; then none begins beyond repeats_min.
  Duration time_max = Duration::max();
};

// The times of one thing's runs, and how many are still to come.
class Series {
 public:
  enum class Phase { kWarmUp, kMeasuring };

  static constexpr size_t kCurveMax = 64;

  explicit Series(const SeriesLimits& limits) : limits_(limits) {}

  // To which phase a run belongs that begins now. None: no more are to begin.
  std::optional<Phase> Begin(Instant now);
  bool More(Instant now) const;  // Whether Begin() would say one.
  // Such a run has ended, and took so long.
  void End(Phase phase, Duration took);

  // Of those that count, in the order in which they ended.
  const std::vector<Duration>& times() const { return times_; }
  // Of the first runs of all, at most kCurveMax: how it warmed up.
  const std::vector<Duration>& curve() const { return curve_; }

  int64_t warm_up_begun() const { return warm_up_begun_; }
  int64_t begun() const { return begun_; }  // Of those that count.
  // How much of it is done, warm-up aside: 0..1.
  double Share(Instant now) const;

 private:
  bool TimeIsUp(Instant now) const;

  const SeriesLimits limits_;
  int64_t warm_up_begun_ = 0;
  int64_t begun_ = 0;
  Instant first_ = kNever;  // When the first that counts began.
  std::vector<Duration> times_;
  std::vector<Duration> curve_;
};

// Runs the candidates in turn, a run of each at a time, so that what disturbs the machine for a
// while disturbs all alike. The first error ends it.
absl::StatusOr<std::vector<Series>> MeasureInTurns(absl::Span<const Candidate> candidates,
                                                   const SeriesLimits& limits, const Clock& clock);

}  // namespace torchd
