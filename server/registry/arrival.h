// How a version comes to serve: configuration read, memory reserved, tried in a process of its own,
// loaded, warmed up, compared with the trial.
//
// Thread-safety: functions without state; run on a loading thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/batching/lane.h"
#include "server/config/plan.h"
#include "server/metrics/server_metrics.h"
#include "server/preprocessing/preprocessor.h"
#include "server/registry/memory_budget.h"
#include "server/registry/repository.h"
#include "server/registry/servable.h"

namespace torchd {

// What a trial found out.
struct Trial {
  std::vector<Tensor> outputs;  // For TrialRow(); empty: not to be compared.
  // What it took beyond an empty process once loaded, and at most. 0: not known.
  int64_t memory_bytes = 0;
  int64_t memory_peak_bytes = 0;
  Duration run{0};  // Of one row by the default plan. 0: not known.
};

struct ArrivalParts {
  // Called first on each loading thread.
  std::function<void()> prepare_thread = [] {};
  // Loads and runs the version once where a crash costs nothing; by its package, too, where the
  // folder has one beside model.pt. Empty: no trial.
  std::function<absl::StatusOr<Trial>(const VersionFolder& folder)> trial;
  // Runs what may take long and needs no loading thread's place: the trial.
  std::function<void(const std::function<void()>& wait)> aside =
      [](const std::function<void()>& wait) { wait(); };
  // By which plan it is served. Empty: by the default one.
  std::function<PlanChoice(const VersionFolder& folder, const ModelConfig&, const Trial&)> plan;
  // What `plan` put off (PlanChoice::searching), on a thread of its own. CANCELLED where it is
  // wanted no more. Empty: nothing is put off.
  std::function<absl::StatusOr<PlanChoice>(const VersionFolder& folder, const ModelConfig&,
                                           const PlanChoice& begun,
                                           const std::function<bool()>& wanted)>
      search;
  // Makes a model of a version's files.
  std::function<absl::StatusOr<std::unique_ptr<Model>>(const VersionFolder& folder,
                                                       const ModelConfig& config, TeamedPlan plan)>
      load;
  // Runs the model where it will serve, until its first requests are as fast as later ones, and
  // says how its rows will run.
  std::function<absl::StatusOr<std::unique_ptr<Lane>>(Model&, const ModelConfig&)> warm_up;
  // Runs TrialRow() where it will serve. Empty: nothing is compared.
  std::function<absl::StatusOr<std::vector<Tensor>>(Model&)> run;
  ImageLimits image_limits;
  int executor_threads = 0;  // Of which a model's configuration may ask for some. 0: not known.
};

// Each step's error says which step it was.
absl::StatusOr<std::unique_ptr<Servable>> Arrive(const VersionFolder& folder,
                                                 const ArrivalParts& parts, MemoryBudget& memory,
                                                 ServerMetrics& metrics);

// The version's name in the log should its plan fail, also where it has failed by now.
void LogFailedPlan(Model& model, const std::string& name, int64_t version);

// What its owner should know of a version that was loaded and warmed up.
std::vector<std::string> NotesOf(const ModelConfig& config, const Model& model, const Lane& lane);

}  // namespace torchd
