// A version's model by another plan than the one that serves it, for a benchmark.
//
// Thread-safety: a function without state.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "server/config/plan.h"
#include "server/daemon/model_trial.h"
#include "server/inference/model.h"
#include "server/registry/servable.h"
#include "server/trial/trials.h"

namespace torchd {

// Reads the version's file as it is now. A plan that was not tried when the version loaded is tried
// first, in a process of its own, since it may crash: FAILED_PRECONDITION with the reason where it
// does not run or answers wrongly. `trials` null: untried, as versions load there. `threads`: of an
// executor. Runs on a thread of its own, which it prepares as a loader's.
absl::StatusOr<std::unique_ptr<Model>> LoadByPlan(const Servable& servable, Plan plan,
                                                  Trials* trials, int threads,
                                                  const ModelTrialLimits& limits);

}  // namespace torchd
