// When an open-loop run sends what: Poisson arrivals, planned without a look at any answer, so that
// a slow server cannot slow down what it is measured with.
//
// Thread-safety: none. The same arguments give the same plan.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "bench/phases.h"
#include "server/base/clock.h"

namespace torchd::bench {

// Indices in proportion to their weights.
class WeightedChoice {
 public:
  // Requires: at least one weight, each above 0.
  explicit WeightedChoice(const std::vector<double>& weights);

  // The index at `share` of the total weight, 0 <= share < 1. Of a uniform random share: a random
  // index. Of (i + 0.5) / n for i = 0..n-1: n places dealt out in proportion.
  int At(double share) const;

 private:
  std::vector<double> ends_;  // Cumulated.
};

struct PlannedCall {
  Duration at{};  // Since the run began.
  int phase = 0;
  int model = 0;  // Position in the mix.
  int client = 0;
};

class ArrivalPlan {
 public:
  // The weights say which part of the calls goes to each model and comes from each client: each of
  // them then is a Poisson process, too.
  ArrivalPlan(std::vector<Phase> phases, const std::vector<double>& model_weights,
              const std::vector<double>& client_weights, uint64_t seed);

  // The next call, in order of time; nullopt when the last phase has ended.
  std::optional<PlannedCall> Next();

 private:
  const std::vector<Phase> phases_;
  const WeightedChoice models_;
  const WeightedChoice clients_;
  std::mt19937_64 random_;
  std::uniform_real_distribution<double> share_{0, 1};
  size_t phase_ = 0;
  double phase_begin_ = 0;  // Seconds since the run began, as now_.
  double now_ = 0;
};

}  // namespace torchd::bench
