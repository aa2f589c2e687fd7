#include "bench/arrival_plan.h"

#include <algorithm>
#include <utility>

namespace torchd::bench {

WeightedChoice::WeightedChoice(const std::vector<double>& weights) {
  double end = 0;
  for (const double weight : weights) ends_.push_back(end += weight);
}

int WeightedChoice::At(double share) const {
  const auto found = std::upper_bound(ends_.begin(), ends_.end(), share * ends_.back());
  // Rounding may reach the very end.
  return static_cast<int>(std::min<std::ptrdiff_t>(found - ends_.begin(), ends_.size() - 1));
}

ArrivalPlan::ArrivalPlan(std::vector<Phase> phases, const std::vector<double>& model_weights,
                         const std::vector<double>& client_weights, uint64_t seed)
    : phases_(std::move(phases)), models_(model_weights), clients_(client_weights), random_(seed) {}

std::optional<PlannedCall> ArrivalPlan::Next() {
  while (phase_ < phases_.size()) {
    const Phase& phase = phases_[phase_];
    const double end = phase_begin_ + phase.seconds;
    if (phase.per_second > 0) {
      now_ += std::exponential_distribution<double>(phase.per_second)(random_);
      if (now_ < end) {
        const Duration at =
            std::chrono::duration_cast<Duration>(std::chrono::duration<double>(now_));
        return PlannedCall{at, static_cast<int>(phase_), models_.At(share_(random_)),
                           clients_.At(share_(random_))};
      }
    }
    // The wait for a Poisson arrival has no memory, so the next phase draws its own.
    phase_begin_ = now_ = end;
    ++phase_;
  }
  return std::nullopt;
}

}  // namespace torchd::bench
