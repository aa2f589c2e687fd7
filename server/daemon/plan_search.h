// Which plan a version is served by: its configuration's, the fastest by an earlier search, or the
// fastest of those tried now, in processes of their own.
//
// Thread-safety: all methods. One search at a time, so that searches do not disturb each other.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/config/model_config.h"
#include "server/config/plan.h"
#include "server/daemon/plan_cache.h"
#include "server/registry/repository.h"

namespace torchd {

class PlanSearch {
 public:
  // Tries the default plan and `plans` beside each other, in at most `limit`; they come back in
  // this order.
  using TryPlans = std::function<absl::StatusOr<std::vector<PlanCandidate>>(
      const VersionFolder& folder, const std::vector<Plan>& plans,
      std::chrono::milliseconds limit)>;

  // `budget`: of one search; 0: nothing is tried.
  PlanSearch(std::chrono::milliseconds budget, PlanCache cache, TryPlans try_plans,
             const Clock& clock);

  // `run`: what the default plan takes, as far as that is known; a short one is not worth a search.
  PlanChoice Choose(const VersionFolder& folder, const ModelConfig& config, Duration run)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::vector<PlanCandidate> TryAll(const VersionFolder& folder, const ModelConfig& config);
  std::vector<PlanCandidate> TryGroup(const VersionFolder& folder, const std::vector<Plan>& plans,
                                      Instant end);

  const std::chrono::milliseconds budget_;
  const PlanCache cache_;
  const TryPlans try_plans_;
  const Clock& clock_;
  absl::Mutex mutex_;  // Held by the search under way.
};

}  // namespace torchd
