#include "server/daemon/other_plan.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/execution/load_model.h"
#include "server/execution/torch_runtime.h"
#include "server/registry/arrival.h"
#include "server/registry/sealed_version.h"

namespace torchd {
namespace {

bool WasTimed(const PlanChoice& choice, Plan plan) {
  return std::any_of(
      choice.candidates.begin(), choice.candidates.end(), [plan](const PlanCandidate& candidate) {
        return candidate.plan == plan && candidate.state == PlanCandidate::State::kTimed;
      });
}

absl::Status TryFirst(Trials& trials, const VersionFolder& folder, Plan plan, int threads,
                      const ModelTrialLimits& limits) {
  TORCHD_ASSIGN_OR_RETURN(const std::vector<PlanCandidate> candidates,
                          RunPlanTrial(trials, folder, {plan}, threads, limits,
                                       std::chrono::seconds(std::max(1, limits.seconds_max))));
  const PlanCandidate& tried = candidates.back();
  if (tried.state == PlanCandidate::State::kTimed) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("its trial says '", Name(tried.state), "': ", tried.reason));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> LoadByPlan(const Servable& servable, Plan plan,
                                                  Trials* trials, int threads,
                                                  const ModelTrialLimits& limits) {
  PrepareLoaderThread();
  ModelConfig config = servable.config;
  config.plan = plan;
  // What was tried is what is loaded.
  TORCHD_ASSIGN_OR_RETURN(const SealedVersion sealed, SealedVersion::Copy(servable.folder, config));
  const auto named = [&](const absl::Status& status) {
    return absl::Status(status.code(),
                        absl::StrCat("plan '", Name(plan), "': ", sealed.Named(status).message()));
  };
  const VersionFolder& read = sealed.folder();
  const bool untried = plan != kDefaultPlan && !WasTimed(servable.plan, plan);
  if (trials != nullptr && untried) {
    const absl::Status tried = TryFirst(*trials, read, plan, threads, limits);
    if (!tried.ok()) return named(tried);
  }
  auto loaded = LoadModel(read.ModelFile(), servable.config, plan, read.package_file);
  if (!loaded.ok()) return named(loaded.status());
  LogFailedPlan(**loaded, servable.name, servable.version);
  return loaded;
}

}  // namespace torchd
