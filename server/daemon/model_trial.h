// Both ends of a model's trial: what the daemon asks, and what the process on trial does.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/plan.h"
#include "server/registry/arrival.h"
#include "server/registry/repository.h"
#include "server/trial/trials.h"

namespace torchd {

struct ModelTrialLimits {
  int seconds_max = 60;
  int memory_mb_max = 8192;
};

// In the daemon, on a loading thread. FAILED_PRECONDITION when the file is not all there.
absl::StatusOr<Trial> RunModelTrial(Trials& trials, const VersionFolder& folder,
                                    const ModelTrialLimits& limits);

// Likewise: the default plan and `plans` beside each other (TryPlans) on `threads` threads, in at
// most `limit`. CANCELLED once `wanted` says no (Trials::Run).
absl::StatusOr<std::vector<PlanCandidate>> RunPlanTrial(Trials& trials, const VersionFolder& folder,
                                                        const std::vector<TeamedPlan>& plans,
                                                        int threads, const ModelTrialLimits& limits,
                                                        std::chrono::milliseconds limit,
                                                        const std::function<bool()>& wanted = {});

// In the process that the trials are forked from, first of all.
void PrepareForTrials();

// In the process on trial: loads the version that `request` names and runs TrialRow(), or a plan.
absl::StatusOr<std::string> TryModel(absl::string_view request);

}  // namespace torchd
