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
#include "server/inference/answer_difference.h"
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
constexpr double kShareToUse = 0.75;  // Of the time, before the process is killed.
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
    most = std::max(most, DifferenceOf(expected[i], got[i]));
  }
  return most;
}

// As `row`, but with ids from further on in the vocabulary.
std::vector<Tensor> WithFurtherIds(const std::vector<TensorSpec>& inputs, std::vector<Tensor> row) {
  constexpr uint32_t kIds = 1000;  // As many as usual vocabularies have at least.
  uint32_t state = 4711;
  for (size_t i = 0; i < row.size(); ++i) {
    if (row[i].type != DataType::kInt64 || inputs[i].name != "input_ids") continue;
    for (size_t at = 0; at < row[i].bytes.size(); at += sizeof(int64_t)) {
      state = state * 1664525 + 1013904223;
      const int64_t id = (state >> 8) % kIds;
      std::memcpy(row[i].bytes.data() + at, &id, sizeof id);
    }
  }
  return row;
}

// One plan under trial.
struct Runner {
  PlanCandidate candidate;
  std::unique_ptr<Model> model;  // Null: it is out.
  Duration run{0};               // The last one; once timed, the median.

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

// The default plan and others of one model, in one process.
class PlanTrial {
 public:
  PlanTrial(const PlanTrialFiles& files, const ModelConfig& config, Duration time_max)
      : files_(files), config_(config), end_(clock_.Now() + time_max) {}

  // The rows, and the saved model's answers to them.
  absl::Status Prepare() {
    TORCHD_ASSIGN_OR_RETURN(const auto saved, LoadModel(files_.model, config_, Plan::kSaved));
    takes_pictures_ = TakesPictures(saved->signature());
    rows_ = {TrialRow(saved->signature().inputs, LengthOf(config_))};
    TORCHD_ASSIGN_OR_RETURN(expected_.emplace_back(), Run(*saved, rows_[0]));
    const std::vector<Tensor> varied = VariedRow(rows_[0]);
    rows_.push_back(WithFurtherIds(saved->signature().inputs, varied));
    auto answer = Run(*saved, rows_[1]);
    if (!answer.ok()) {  // It does not know those ids.
      rows_[1] = varied;
      answer = Run(*saved, rows_[1]);
    }
    TORCHD_RETURN_IF_ERROR(answer.status());
    expected_.push_back(*std::move(answer));
    return absl::OkStatus();
  }

  void Add(TeamedPlan plan) {
    Runner& runner = runners_.emplace_back();
    runner.candidate.plan = plan.plan;
    runner.candidate.threads = plan.threads;
    // The default and one more that runs are tried whatever it takes.
    if (Running().size() > 1 && !HasTimeForMore()) {
      return runner.Out(PlanCandidate::State::kUntried, "there was no time left for it");
    }
    const Instant begin = clock_.Now();
    Warm(runner, plan);
    longest_ = std::max<Duration>(longest_, clock_.Now() - begin);
  }

  absl::Status Time() {
    std::vector<Candidate> candidates;
    for (Runner* const runner : Running()) {
      const std::vector<Tensor>& row = rows_[1];
      candidates.push_back({.run = [runner, &row] { return Run(*runner->model, row).status(); },
                            .prepare = [runner] { OpenTeamOf(runner->model->threads()); }});
    }
    const int count = static_cast<int>(candidates.size());
    const SeriesLimits limits = {
        .repeats_min = kTurnsMin,
        .repeats_max = kTurnsMax,
        .time_max =
            std::max(std::min<Duration>(kTimingMax * count, end_ - clock_.Now()), Duration(1))};
    TORCHD_ASSIGN_OR_RETURN(const std::vector<Series> measured,
                            MeasureInTurns(candidates, limits, clock_));
    for (size_t i = 0; i < measured.size(); ++i) Running()[i]->run = Median(measured[i].times());
    return absl::OkStatus();
  }

  // INTERNAL where the default plan does not run.
  absl::Status DefaultRuns() const {
    if (runners_[0].model != nullptr) return absl::OkStatus();
    return absl::InternalError(runners_[0].candidate.reason);
  }

  std::vector<PlanCandidate> Results() {
    const double usual = std::max(Seconds(runners_[0].run), 1e-9);
    std::vector<PlanCandidate> candidates;
    for (Runner& runner : runners_) {
      if (runner.model != nullptr) {
        runner.candidate.state = PlanCandidate::State::kTimed;
        runner.candidate.run = runner.run;
        runner.candidate.ratio = Seconds(runner.candidate.run) / usual;
      }
      candidates.push_back(std::move(runner.candidate));
    }
    return candidates;
  }

 private:
  std::vector<Runner*> Running() {
    std::vector<Runner*> running;
    for (Runner& runner : runners_) {
      if (runner.model != nullptr) running.push_back(&runner);
    }
    return running;
  }

  // To be made, as long as the longest so far took for that; then turns of all.
  bool HasTimeForMore() {
    Duration turn{0};
    Duration longest_run{0};
    for (const Runner* const runner : Running()) {
      turn += runner->run;
      longest_run = std::max(longest_run, runner->run);
    }
    return clock_.Now() + longest_ + kTurnsMin * (turn + longest_run) < end_;
  }

  void Warm(Runner& runner, TeamedPlan plan) {
    using State = PlanCandidate::State;
    if (plan.plan == Plan::kChannelsLast && !takes_pictures_) {
      return runner.Out(State::kFailed, "the model takes no pictures");
    }
    auto made = LoadModel(files_.model, config_, plan, files_.package);
    if (!made.ok()) return runner.Out(State::kFailed, std::string(made.status().message()));
    if (config_.rows_per_batch_max > 1 && !(*made)->batches()) {
      return runner.Out(State::kFailed,
                        absl::StrCat("the package takes one row a run, rows_per_batch_max is ",
                                     config_.rows_per_batch_max));
    }
    runner.model = *std::move(made);
    Compare(runner);
  }

  // Warms the runner up, and puts it out if it does not answer as expected.
  void Compare(Runner& runner) {
    using State = PlanCandidate::State;
    for (size_t i = 0; i < rows_.size(); ++i) {
      for (int run = 0; run < (i == 0 ? kWarmRuns : 1); ++run) {
        const Instant begin = clock_.Now();
        const auto got = Run(*runner.model, rows_[i]);
        runner.run = clock_.Now() - begin;
        if (!got.ok()) return runner.Out(State::kFailed, std::string(got.status().message()));
        double& difference = runner.candidate.difference;
        difference = std::max(difference, Difference(expected_[i], *got));
      }
    }
    if (runner.model->fallbacks() > 0) {
      return runner.Out(State::kFailed, absl::StrCat("it fails where the saved model does not: ",
                                                     runner.model->fallback_reason()));
    }
    // How far it is off is what the owner who has chosen it wants to know.
    const Plan plan = runner.candidate.plan;
    if (config_.plan == plan && HasFewerBits(plan) && config_.plan_difference_max == 0) return;
    const double difference_max = std::max(kPlanTolerance, config_.plan_difference_max);
    if (runner.candidate.difference > difference_max) {
      runner.Out(State::kWrong, absl::StrCat("its answers differ by ", runner.candidate.difference,
                                             ", at most ", difference_max));
    }
  }

  const PlanTrialFiles& files_;
  const ModelConfig& config_;
  const SteadyClock clock_;
  const Instant end_;
  bool takes_pictures_ = false;
  std::vector<std::vector<Tensor>> rows_;
  std::vector<std::vector<Tensor>> expected_;
  std::vector<Runner> runners_;
  Duration longest_{0};  // To make a plan and warm it up.
};

}  // namespace

absl::StatusOr<std::vector<PlanCandidate>> TryPlans(const PlanTrialFiles& files,
                                                    const ModelConfig& config,
                                                    const std::vector<TeamedPlan>& plans,
                                                    Duration limit) {
  PlanTrial trial(files, config, std::chrono::duration_cast<Duration>(limit * kShareToUse));
  TORCHD_RETURN_IF_ERROR(trial.Prepare());
  trial.Add(kDefaultPlan);
  TORCHD_RETURN_IF_ERROR(trial.DefaultRuns());
  for (const TeamedPlan plan : plans) trial.Add(plan);
  TORCHD_RETURN_IF_ERROR(trial.Time());
  return trial.Results();
}

}  // namespace torchd
