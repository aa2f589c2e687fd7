#include "server/execution/plan_trial.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/execution/load_model.h"
#include "server/execution/torch_runtime.h"
#include "server/inference/trial_row.h"
#include "server/measuring/measure.h"
#include "server/measuring/samples.h"

namespace torchd {
namespace {

// The first runs profile and compile.
constexpr int kWarmRuns = 3;
constexpr int kTurnsMin = 5;
constexpr int kTurnsMax = 60;
constexpr Duration kTimingMax = std::chrono::milliseconds(1000);  // Times the number of plans.
constexpr int64_t kTextLength = 128;

// Of a text model: as long as a usual text, if it takes such.
int64_t LengthOf(const ModelConfig& config) {
  if (!config.text) return kTrialLength;
  const auto& lengths = config.text->lengths;
  const auto fits = std::find_if(lengths.begin(), lengths.end(),
                                 [](int64_t length) { return length >= kTextLength; });
  if (fits != lengths.end()) return *fits;
  return lengths.empty() ? kTextLength : lengths.back();
}

absl::StatusOr<std::vector<Tensor>> Run(Model& model, const std::vector<Tensor>& row) {
  const RowInputs views = ViewsOf(row);
  const RowInputs* const rows = &views;
  std::vector<Tensor> outputs;
  TORCHD_RETURN_IF_ERROR(model.Run(absl::MakeConstSpan(&rows, 1), outputs));
  return outputs;
}

double Difference(const std::vector<Tensor>& expected, const std::vector<Tensor>& got) {
  if (expected.size() != got.size()) return INFINITY;
  double most = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i].type != got[i].type || expected[i].shape != got[i].shape) return INFINITY;
    if (expected[i].type != DataType::kFloat32) {
      if (expected[i].bytes != got[i].bytes) return INFINITY;
      continue;
    }
    for (size_t at = 0; at < expected[i].bytes.size(); at += sizeof(float)) {
      float wanted = 0;
      float found = 0;
      std::memcpy(&wanted, expected[i].bytes.data() + at, sizeof wanted);
      std::memcpy(&found, got[i].bytes.data() + at, sizeof found);
      if (std::isnan(wanted) && std::isnan(found)) continue;
      if (wanted == found) continue;  // Infinite, both.
      const double difference =
          std::abs(double{found} - wanted) / std::max(1.0, std::abs(double{wanted}));
      most = std::isnan(difference) ? INFINITY : std::max(most, difference);
    }
  }
  return most;
}

// One plan under trial.
struct Runner {
  PlanCandidate candidate;
  std::unique_ptr<Model> model;  // Null: it is out.
  Duration run{0};               // Median.

  void Out(PlanCandidate::State state, std::string reason) {
    candidate.state = state;
    candidate.reason = std::move(reason);
    model.reset();
  }
};

bool TakesPictures(const ModelSignature& signature) {
  return std::any_of(signature.inputs.begin(), signature.inputs.end(),
                     [](const TensorSpec& input) { return input.shape.size() == 3; });
}

// Warms the runner up, and puts it out if it does not answer as expected.
void Compare(Runner& runner, const std::vector<std::vector<Tensor>>& rows,
             const std::vector<std::vector<Tensor>>& expected, double difference_max) {
  using State = PlanCandidate::State;
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int run = 0; run < kWarmRuns; ++run) {
      const auto got = Run(*runner.model, rows[i]);
      if (!got.ok()) return runner.Out(State::kFailed, std::string(got.status().message()));
      double& difference = runner.candidate.difference;
      difference = std::max(difference, Difference(expected[i], *got));
    }
  }
  if (runner.model->fallbacks() > 0) {
    return runner.Out(State::kFailed, "it fails where the saved model does not");
  }
  if (runner.candidate.difference > difference_max) {
    runner.Out(State::kWrong, absl::StrCat("its answers differ by ", runner.candidate.difference,
                                           ", at most ", difference_max));
  }
}

absl::Status Time(std::vector<Runner>& runners, const std::vector<Tensor>& row) {
  std::vector<Candidate> candidates;
  std::vector<Runner*> timed;
  for (Runner& runner : runners) {
    if (runner.model == nullptr) continue;
    timed.push_back(&runner);
    candidates.push_back({.run = [&runner, &row] { return Run(*runner.model, row).status(); },
                          .prepare = [&runner] { OpenTeamOf(runner.model->threads()); }});
  }
  const SteadyClock clock;
  const SeriesLimits limits = {.repeats_min = kTurnsMin,
                               .repeats_max = kTurnsMax,
                               .time_max = kTimingMax * static_cast<int>(runners.size())};
  TORCHD_ASSIGN_OR_RETURN(const std::vector<Series> measured,
                          MeasureInTurns(candidates, limits, clock));
  for (size_t i = 0; i < timed.size(); ++i) timed[i]->run = Median(measured[i].times());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<PlanCandidate>> TryPlans(const std::string& path,
                                                    const ModelConfig& config,
                                                    const std::vector<TeamedPlan>& plans,
                                                    const std::string& package) {
  TORCHD_ASSIGN_OR_RETURN(const auto saved, LoadModel(path, config, Plan::kSaved));
  const ModelSignature& signature = saved->signature();
  std::vector<std::vector<Tensor>> rows = {TrialRow(signature.inputs, LengthOf(config))};
  rows.push_back(VariedRow(rows[0]));
  std::vector<std::vector<Tensor>> expected;
  for (const std::vector<Tensor>& row : rows) {
    TORCHD_ASSIGN_OR_RETURN(expected.emplace_back(), Run(*saved, row));
  }
  std::vector<TeamedPlan> all = {kDefaultPlan};
  all.insert(all.end(), plans.begin(), plans.end());
  std::vector<Runner> runners;
  for (const TeamedPlan plan : all) {
    Runner& runner = runners.emplace_back();
    runner.candidate.plan = plan.plan;
    runner.candidate.threads = plan.threads;
    if (plan.plan == Plan::kChannelsLast && !TakesPictures(signature)) {
      runner.Out(PlanCandidate::State::kFailed, "the model takes no pictures");
      continue;
    }
    auto made = LoadModel(path, config, plan, package);
    if (!made.ok()) {
      runner.Out(PlanCandidate::State::kFailed, std::string(made.status().message()));
      continue;
    }
    if (config.rows_per_batch_max > 1 && !(*made)->batches()) {
      runner.Out(PlanCandidate::State::kFailed,
                 absl::StrCat("the package takes one row a run, rows_per_batch_max is ",
                              config.rows_per_batch_max));
      continue;
    }
    runner.model = *std::move(made);
    Compare(runner, rows, expected, std::max(kPlanTolerance, config.plan_difference_max));
  }
  if (runners[0].model == nullptr) return absl::InternalError(runners[0].candidate.reason);
  TORCHD_RETURN_IF_ERROR(Time(runners, rows[1]));
  const double usual = std::max(Seconds(runners[0].run), 1e-9);
  std::vector<PlanCandidate> candidates;
  for (Runner& runner : runners) {
    if (runner.model != nullptr) {
      runner.candidate.state = PlanCandidate::State::kTimed;
      runner.candidate.run = runner.run;
      runner.candidate.ratio = Seconds(runner.candidate.run) / usual;
    }
    candidates.push_back(std::move(runner.candidate));
  }
  return candidates;
}

}  // namespace torchd
