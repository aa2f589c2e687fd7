// Runs plans beside the default one, in turn, and compares their answers with the saved model's.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/config/model_config.h"
#include "server/config/plan.h"

namespace torchd {

// Of the answers of a plan from the saved model's, as DifferenceOf() has it, unless the
// configuration allows more.
inline constexpr double kPlanTolerance = 1e-4;

struct PlanTrialFiles {
  std::string model;         // TorchScript.
  std::string package = {};  // The same model, for the plan of that name.
};

// The default plan on all threads first, then each of `plans`: timed, wrong, failed, or, where not
// much is left of `limit`, untried, so that what others took is not lost. An error: the model does
// not load or run at all. A package that takes a row at a time fails where the model's owner asks
// for batches. Requires: a thread prepared by PrepareExecutorThread().
absl::StatusOr<std::vector<PlanCandidate>> TryPlans(const PlanTrialFiles& files,
                                                    const ModelConfig& config,
                                                    const std::vector<TeamedPlan>& plans,
                                                    Duration limit);

}  // namespace torchd
