// Which plan a version is served by: its configuration's, the fastest by an earlier search, or the
// fastest of those tried now, in processes of their own.
//
// Thread-safety: all methods. One search at a time, so that searches do not disturb each other.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
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
  // Whether anybody still waits for the outcome.
  using Wanted = std::function<bool()>;
  // Tries the default plan on all threads and `plans` beside each other, in at most `limit`; they
  // come back in this order. CANCELLED where they are wanted no more.
  using TryPlans = std::function<absl::StatusOr<std::vector<PlanCandidate>>(
      const VersionFolder& folder, const std::vector<TeamedPlan>& plans,
      std::chrono::milliseconds limit, const Wanted& wanted)>;
  struct Options {
    std::chrono::milliseconds budget{0};  // Of one search; 0: nothing is tried.
    bool fast_start = false;              // Where a model's configuration does not say.
    int threads = 1;                      // Of an executor.
  };

  PlanSearch(Options options, PlanCache cache, TryPlans try_plans, const Clock& clock);

  // `run`: what the default plan takes, as far as that is known; a short one is not worth a search.
  // With a fast start it is the default plan that has to serve until SearchNow() knows better
  // (PlanChoice::searching), unless that is known already.
  PlanChoice Choose(const VersionFolder& folder, const ModelConfig& config, Duration run)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // What Choose() put off. `key`: PlanChoice::key. FAILED_PRECONDITION when the files hold other
  // bytes by now; CANCELLED when it is wanted no more.
  absl::StatusOr<PlanChoice> SearchNow(const VersionFolder& folder, const ModelConfig& config,
                                       const std::string& key, const Wanted& wanted)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Task {
    bool IsWanted() const { return !wanted || wanted(); }

    const VersionFolder& folder;
    const ModelConfig& config;
    const Instant end;
    const Wanted& wanted;
  };

  // What the configuration says; where that changes answers, with how far.
  PlanChoice Pinned(const VersionFolder& folder, const ModelConfig& config, Plan plan)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // By an earlier search.
  std::optional<PlanChoice> Known(const std::string& key, const ModelConfig& config) const;
  PlanChoice Search(const VersionFolder& folder, const ModelConfig& config, const std::string& key,
                    const Wanted& wanted) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<PlanCandidate> TryAll(const Task& task, const std::vector<PlanCandidate>& kept);
  // In one process, in at most `share` of the time that is left.
  absl::StatusOr<std::vector<PlanCandidate>> TryTogether(const Task& task,
                                                         const std::vector<Plan>& plans,
                                                         double share);
  std::vector<PlanCandidate> TryAlone(const Task& task, Plan plan);
  void RunOff(const Task& task, const std::vector<std::vector<Plan>>& beside,
              std::vector<PlanCandidate>& candidates);
  void TryFewerThreads(const Task& task, std::vector<PlanCandidate>& candidates);

  const Options options_;
  const PlanCache cache_;
  const TryPlans try_plans_;
  const Clock& clock_;
  absl::Mutex mutex_;  // Held by the search under way.
};

}  // namespace torchd
