#include "server/measuring/measure.h"

#include <algorithm>

#include "server/base/status_macros.h"

namespace torchd {

absl::StatusOr<Duration> TimeRun(const Candidate& candidate, const Clock& clock) {
  if (candidate.prepare) candidate.prepare();
  if (candidate.synchronise) candidate.synchronise();
  const Instant begin = clock.Now();
  TORCHD_RETURN_IF_ERROR(candidate.run());
  if (candidate.synchronise) candidate.synchronise();
  return clock.Now() - begin;
}

bool Series::More(Instant now) const {
  if (warm_up_begun_ < limits_.warm_up) return true;
  if (begun_ >= limits_.repeats_max) return false;
  return begun_ < limits_.repeats_min || !TimeIsUp(now);
}

std::optional<Series::Phase> Series::Begin(Instant now) {
  if (!More(now)) return std::nullopt;
  if (warm_up_begun_ < limits_.warm_up) {
    ++warm_up_begun_;
    return Phase::kWarmUp;
  }
  if (begun_ == 0) first_ = now;
  ++begun_;
  return Phase::kMeasuring;
}

void Series::End(Phase phase, Duration took) {
  if (curve_.size() < kCurveMax) curve_.push_back(took);
  if (phase == Phase::kMeasuring) times_.push_back(took);
}

bool Series::TimeIsUp(Instant now) const {
  return begun_ > 0 && limits_.time_max != Duration::max() && now - first_ >= limits_.time_max;
}

double Series::Share(Instant now) const {
  const double by_runs =
      static_cast<double>(times_.size()) / static_cast<double>(limits_.repeats_max);
  const double by_time = begun_ == 0 || limits_.time_max == Duration::max()
                             ? 0
                             : Seconds(now - first_) / std::max(Seconds(limits_.time_max), 1e-9);
  return std::clamp(std::max(by_runs, by_time), 0.0, 1.0);
}

absl::StatusOr<std::vector<Series>> MeasureInTurns(absl::Span<const Candidate> candidates,
                                                   const SeriesLimits& limits, const Clock& clock) {
  std::vector<Series> measured(candidates.size(), Series(limits));
  for (bool any = true; any;) {
    any = false;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const auto phase = measured[i].Begin(clock.Now());
      if (!phase) continue;
      any = true;
      TORCHD_ASSIGN_OR_RETURN(const Duration took, TimeRun(candidates[i], clock));
      measured[i].End(*phase, took);
    }
  }
  return measured;
}

}  // namespace torchd
