#include "server/benchmark/benchmarks.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/inference/open_sizes.h"
#include "server/inference/trial_row.h"
#include "server/measuring/measure.h"
#include "server/registry/same_answer.h"

namespace torchd {
namespace {

constexpr int kBins = 20;
constexpr Duration kProgressEvery = std::chrono::milliseconds(100);
// Different rows in a run; a larger one has each of them several times.
constexpr int64_t kRowsMade = 16;

SeriesLimits LimitsOf(const BenchmarkSpec& spec) {
  SeriesLimits limits;
  limits.warm_up = spec.warm_up;
  limits.repeats_max = kBenchmarkRepeatsMax;
  if (spec.duration) {
    limits.time_max = *spec.duration;
  } else {
    limits.repeats_max = spec.repeats.value_or(kBenchmarkRepeats);
    limits.repeats_min = limits.repeats_max;
  }
  return limits;
}

}  // namespace

// One benchmark. Run() is called once, on a thread of the benchmarks'.
class Benchmarks::Job {
 public:
  Job(const Benchmarks& owner, BenchmarkSpec spec, std::vector<TensorSpec> inputs,
      std::optional<Plan> plan, ModelHandle servable, const Caller& caller)
      : owner_(owner),
        parts_(owner.parts_),
        spec_(std::move(spec)),
        inputs_(std::move(inputs)),
        plan_(plan),
        servable_(std::move(servable)),
        caller_(caller),
        began_(parts_.clock.Now()),
        limits_(LimitsOf(spec_)),
        series_(limits_) {}

  absl::StatusOr<BenchmarkResult> Run() {
    Tell();
    MemoryBudget::Lease memory;
    std::unique_ptr<Model> own;
    if (plan_) {
      TORCHD_ASSIGN_OR_RETURN(memory, parts_.registry.Reserve(servable_->memory.bytes()));
      TORCHD_ASSIGN_OR_RETURN(own, parts_.load(*servable_, *plan_));
      TORCHD_RETURN_IF_ERROR(WhyEnd());
    }
    Model& model = own == nullptr ? *servable_->model : *own;
    MakeRows();
    TORCHD_ASSIGN_OR_RETURN(const MemoryBudget::Lease for_runs, ReserveForRuns());
    loaded_ = true;
    const int64_t rows_went_first = parts_.executors.RunInTurns(
        static_cast<int>(spec_.concurrency), [&] { return RunOnce(model); },
        [this] { return GoOn(); });
    TORCHD_RETURN_IF_ERROR(WhyEnd());
    if (own != nullptr) TORCHD_RETURN_IF_ERROR(CheckAnswers(model));
    return ResultOf(model, rows_went_first);
  }

 private:
  absl::Status WhyEnd() ABSL_LOCKS_EXCLUDED(mutex_) {
    if (owner_.stopping_) return absl::UnavailableError("the server is shutting down");
    if (caller_.cancelled()) return absl::CancelledError("the benchmark was cancelled");
    absl::MutexLock lock(&mutex_);
    return failed_;
  }

  // Every 10 ms, on the thread of Run().
  bool GoOn() {
    if (parts_.clock.Now() - told_ >= kProgressEvery) Tell();
    return WhyEnd().ok();
  }

  void Tell() ABSL_LOCKS_EXCLUDED(mutex_) {
    told_ = parts_.clock.Now();
    BenchmarkProgress progress;
    progress.elapsed = told_ - began_;
    if (loaded_) {
      absl::MutexLock lock(&mutex_);
      const auto counted = static_cast<int64_t>(series_.times().size());
      const bool warm = series_.begun() > 0 || limits_.warm_up == 0;
      progress.phase =
          warm ? BenchmarkProgress::Phase::kMeasuring : BenchmarkProgress::Phase::kWarmUp;
      progress.runs = warm ? counted : warm_up_ended_;
      progress.runs_total = warm ? (spec_.duration ? 0 : limits_.repeats_max) : limits_.warm_up;
      progress.share = series_.Share(told_);
    }
    caller_.progress(progress);
  }

  void MakeRows() {
    const std::vector<Tensor> ones = TrialRow(inputs_);
    const int64_t made = std::min(spec_.batch_size, kRowsMade);
    for (int64_t i = 0; i < made; ++i) {
      rows_.push_back(VariedRow(ones, static_cast<uint32_t>(12345 + i)));
    }
    for (const std::vector<Tensor>& row : rows_) views_.push_back(ViewsOf(row));
    for (int64_t i = 0; i < spec_.batch_size; ++i) {
      batch_.push_back(&views_[static_cast<size_t>(i % made)]);
    }
  }

  // What a run of as many rows takes; 0 where it is not known or there is no such run. By the model
  // that serves: for that many rows it has not compiled, which would take memory of its own.
  absl::StatusOr<int64_t> MemoryOf(int64_t rows) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::StatusOr<int64_t> taken = 0;
    const auto measure = [&] {
      absl::Status ran;
      const int64_t bytes = parts_.memory_of([&] {
        std::vector<Tensor> outputs;
        ran = servable_->model->Run(
            absl::MakeConstSpan(batch_).subspan(0, static_cast<size_t>(rows)), outputs);
      });
      absl::MutexLock lock(&mutex_);
      if (ran.ok()) taken = bytes;
      if (absl::IsResourceExhausted(ran)) taken = ran;  // Others the runs that count will say.
      return false;
    };
    parts_.executors.RunInTurns(1, measure, [this] { return GoOn(); });
    TORCHD_RETURN_IF_ERROR(WhyEnd());
    absl::MutexLock lock(&mutex_);
    return taken;
  }

  // One call could have the kernel end the server: activations grow with the rows, and those of a
  // run that no client could ask for are counted nowhere.
  absl::StatusOr<MemoryBudget::Lease> ReserveForRuns() ABSL_LOCKS_EXCLUDED(mutex_) {
    const int64_t clients = servable_->lane->rows_max();
    if (!parts_.memory_of || spec_.batch_size <= clients) return MemoryBudget::Lease();
    const int64_t tried = clients + 1;
    TORCHD_ASSIGN_OR_RETURN(const int64_t bytes, MemoryOf(tried));
    const auto need = static_cast<int64_t>(static_cast<double>(bytes) / static_cast<double>(tried) *
                                           static_cast<double>(spec_.batch_size) *
                                           static_cast<double>(spec_.concurrency));
    auto lease = parts_.registry.Reserve(need);
    if (!lease.ok()) return TooMuch(need, lease.status().message());
    const std::optional<int64_t> free = parts_.memory_free();
    if (free && need > *free / 4 * 3) {
      return TooMuch(need, absl::StrCat("of the ", *free >> 20,
                                        " MiB that the machine and its control groups leave, a "
                                        "benchmark may take three quarters"));
    }
    return lease;
  }

  absl::Status TooMuch(int64_t need, absl::string_view why) const {
    return absl::ResourceExhaustedError(
        absl::StrCat("batch_size: got ", spec_.batch_size, " rows of ", InputsText(inputs_),
                     ", whose runs would take about ", need >> 20, " MiB of memory: ", why));
  }

  absl::StatusOr<std::vector<Tensor>> AnswerOf(Model& model) const {
    std::vector<Tensor> outputs;
    TORCHD_RETURN_IF_ERROR(model.Run(absl::MakeConstSpan(batch_), outputs));
    return outputs;
  }

  // On an executor's thread; false: no more.
  bool RunOnce(Model& model) ABSL_LOCKS_EXCLUDED(mutex_) {
    std::optional<Series::Phase> phase;
    {
      absl::MutexLock lock(&mutex_);
      if (failed_.ok()) phase = series_.Begin(parts_.clock.Now());
    }
    if (!phase) return false;
    std::vector<Tensor> outputs;
    const auto took = TimeRun(
        {.run = [&] { return model.Run(absl::MakeConstSpan(batch_), outputs); }}, parts_.clock);
    absl::MutexLock lock(&mutex_);
    if (!took.ok()) {
      failed_.Update(absl::Status(
          took.status().code(),
          absl::StrCat("a run of ", spec_.batch_size, " rows failed: ", took.status().message())));
      return false;
    }
    series_.End(*phase, *took);
    if (*phase == Series::Phase::kWarmUp) ++warm_up_ended_;
    return series_.More(parts_.clock.Now());
  }

  // Another plan must not be praised for being wrong, nor another model measured, should the files
  // have changed since this one was loaded.
  absl::Status CheckAnswers(Model& model) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::Status same;
    const auto compare = [&] {
      const auto expected = AnswerOf(*servable_->model);
      const auto got = AnswerOf(model);
      absl::Status checked = expected.ok() ? got.status() : expected.status();
      if (checked.ok()) {
        checked = CheckSameAnswer(*expected, *got, SameAnswerTolerance(servable_->config));
      }
      absl::MutexLock lock(&mutex_);
      same = std::move(checked);
      return false;
    };
    parts_.executors.RunInTurns(1, compare, [this] { return WhyEnd().ok(); });
    TORCHD_RETURN_IF_ERROR(WhyEnd());
    absl::MutexLock lock(&mutex_);
    if (same.ok()) return same;
    return absl::FailedPreconditionError(
        absl::StrCat("plan '", Name(*plan_),
                     "' answers otherwise than the model that serves, or its "
                     "files have changed: ",
                     same.message()));
  }

  BenchmarkResult ResultOf(const Model& model, int64_t rows_went_first)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    std::vector<Duration> sorted = series_.times();
    std::sort(sorted.begin(), sorted.end());
    BenchmarkResult result;
    result.model = servable_->name;
    result.version = servable_->version;
    result.plan = model.plan();
    result.inputs = inputs_;
    result.batch_size = spec_.batch_size;
    result.concurrency = spec_.concurrency;
    result.warm_up = warm_up_ended_;
    result.times = Summarise(sorted);
    result.bins = BinsOf(sorted, kBins);
    result.curve = series_.curve();
    const double mean = std::max(Seconds(result.times.mean), 1e-9);
    result.rows_per_second = static_cast<double>(spec_.batch_size * spec_.concurrency) / mean;
    result.rows_went_first = rows_went_first;
    result.elapsed = parts_.clock.Now() - began_;
    return result;
  }

  const Benchmarks& owner_;
  const Parts& parts_;
  const BenchmarkSpec spec_;
  const std::vector<TensorSpec> inputs_;
  const std::optional<Plan> plan_;  // To load the model with.
  const ModelHandle servable_;
  const Caller& caller_;
  const Instant began_;
  const SeriesLimits limits_;
  Instant told_;
  bool loaded_ = false;
  std::vector<std::vector<Tensor>> rows_;
  std::vector<RowInputs> views_;         // Of rows_.
  std::vector<const RowInputs*> batch_;  // Of views_.
  absl::Mutex mutex_;
  Series series_ ABSL_GUARDED_BY(mutex_);
  int64_t warm_up_ended_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);
};

Benchmarks::Benchmarks(Parts parts)
    : parts_(std::move(parts)), threads_("bench", {.threads = std::max(1, parts_.at_once)}) {}

Benchmarks::~Benchmarks() { Stop(); }

absl::Status Benchmarks::Start(BenchmarkSpec spec, Caller caller) {
  if (stopping_) return absl::UnavailableError("the server is shutting down");
  if (parts_.at_once == 0) {
    return absl::FailedPreconditionError(
        "this server runs no benchmarks: its setting benchmarks_max is 0");
  }
  TORCHD_ASSIGN_OR_RETURN(const ModelHandle servable,
                          parts_.registry.Lookup({spec.model.data(), spec.model.size()},
                                                 {spec.version, spec.version_label}));
  TORCHD_RETURN_IF_ERROR(CheckNumbers(spec, *servable, parts_.executors.options().threads));
  TORCHD_ASSIGN_OR_RETURN(std::vector<TensorSpec> inputs, InputsOf(spec, *servable));
  TORCHD_ASSIGN_OR_RETURN(const std::optional<Plan> plan, PlanToLoad(spec, *servable));
  if (plan && !parts_.load) return absl::FailedPreconditionError("no other plan can be loaded");
  TORCHD_RETURN_IF_ERROR(TakePlace(servable->name));
  auto told = std::make_shared<Caller>(std::move(caller));
  auto job =
      std::make_shared<Job>(*this, std::move(spec), std::move(inputs), plan, servable, *told);
  const std::string name = servable->name;
  const bool taken = threads_.Submit([this, job, told, name]() mutable {
    auto result = job->Run();
    Log(Severity::kInfo, "benchmark ended",
        {{"model", name},
         {"runs", absl::StrCat(result.ok() ? result->times.count : 0)},
         {"status", absl::StatusCodeToString(result.status().code())}});
    job.reset();  // With it the handle.
    GivePlaceBack(name);
    told->done(std::move(result));
  });
  if (!taken) GivePlaceBack(name);  // Never: a place is given back just before its thread is free.
  return taken ? absl::OkStatus() : absl::ResourceExhaustedError("too many benchmarks wait");
}

absl::Status Benchmarks::TakePlace(const std::string& model) {
  absl::MutexLock lock(&mutex_);
  if (running_.size() >= static_cast<size_t>(parts_.at_once)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a benchmark of model '", running_.front(), "' is running; at most ", parts_.at_once,
        " at a time (benchmarks_max), so that they do not measure "
        "each other"));
  }
  running_.push_back(model);
  return absl::OkStatus();
}

void Benchmarks::GivePlaceBack(const std::string& model) {
  absl::MutexLock lock(&mutex_);
  running_.erase(std::find(running_.begin(), running_.end(), model));
}

}  // namespace torchd
