#include "server/daemon/warm_up.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/base/status_macros.h"
#include "server/inference/trial_row.h"
#include "server/registry/same_answer.h"

namespace torchd {
namespace {

constexpr size_t kSettledRuns = 3;
constexpr Duration kNoise = std::chrono::microseconds(100);
constexpr int kBatchRuns = 4;  // Of each length and number of rows; the first is not counted.
// A longer run keeps the executor from the requests of other models for too long.
constexpr Duration kUnaskedRunMax = std::chrono::milliseconds(250);
constexpr double kWorthIt = 0.96;  // Of the time per row; less is noise.

Duration Median(std::vector<Duration> times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// The same row with other numbers, where the model takes numbers that may differ.
std::vector<Tensor> OtherRow(std::vector<Tensor> row) {
  for (Tensor& tensor : row) {
    if (tensor.type != DataType::kFloat32) continue;
    const float half = 0.5F;
    for (size_t at = 0; at + sizeof half <= tensor.bytes.size(); at += sizeof half) {
      std::memcpy(tensor.bytes.data() + at, &half, sizeof half);
    }
  }
  return row;
}

std::vector<Tensor> Joined(std::vector<Tensor> first, const std::vector<Tensor>& second) {
  for (size_t i = 0; i < first.size(); ++i) {
    first[i].shape[0] += second[i].shape[0];
    first[i].bytes.insert(first[i].bytes.end(), second[i].bytes.begin(), second[i].bytes.end());
  }
  return first;
}

class WarmUpOfOne {
 public:
  WarmUpOfOne(Model& model, const ModelConfig& config, const WarmUpOptions& options,
              Executors& executors, const Clock& clock)
      : model_(model), config_(config), options_(options), executors_(executors), clock_(clock) {
    const bool said = config.rows_per_batch_max > 0;
    rows_max_ = said ? config.rows_per_batch_max : options.rows_per_batch_max;
    run_max_ = said ? Duration::max() : kUnaskedRunMax;
  }

  absl::StatusOr<std::unique_ptr<Lane>> Run() {
    const std::vector<int64_t> lengths = Lengths();
    TORCHD_RETURN_IF_ERROR(Settle(lengths[0]));
    end_ = clock_.Now() + options_.batches_max;
    const bool measures = options_.runs > 0 && HasTime();
    if (rows_max_ > 1 && measures) {
      const absl::Status joins = CheckJoins(lengths[0]);
      if (!joins.ok()) RunOneByOne(joins);
    }
    TORCHD_RETURN_IF_ERROR(Grow(lengths[0]));
    for (size_t i = 1; i < lengths.size() && measures; ++i) {
      for (const int bucket : buckets_) TORCHD_RETURN_IF_ERROR(Measure(lengths[i], bucket));
    }
    return MakeLane();
  }

 private:
  struct Measured {
    int64_t length = 0;
    int bucket = 0;
    Duration time{0};
  };

  void RunOneByOne(const absl::Status& why) {
    note_ = absl::StrCat("rows run one by one: ", why.message());
    rows_max_ = 1;
  }

  bool HasTime() const { return clock_.Now() < end_; }

  // Of texts; elsewhere whatever a trial takes.
  std::vector<int64_t> Lengths() const {
    std::vector<int64_t> lengths;
    if (config_.text && ShapeClassOfLength(kTrialLength).size() > 0) {
      for (const int length : config_.text->lengths) {
        if (length <= config_.text->tokens_max) lengths.push_back(length);
      }
    }
    if (lengths.empty()) lengths.push_back(kTrialLength);
    return lengths;
  }

  ShapeClass ShapeClassOfLength(int64_t length) const {
    const std::vector<Tensor> row = TrialRow(model_.signature().inputs, length);
    return ShapeClassOf(model_.signature(), ViewsOf(row));
  }

  // The time of the slowest executor.
  absl::StatusOr<Duration> RunOnce(const std::vector<const RowInputs*>& rows,
                                   std::vector<Tensor>* answer = nullptr) {
    absl::Mutex mutex;
    absl::Status first_error;
    Duration slowest{0};
    const int ran = executors_.RunOnEach(
        [&] {
          std::vector<Tensor> outputs;
          const Instant start = clock_.Now();
          const absl::Status status = model_.Run(absl::MakeConstSpan(rows), outputs);
          const Duration took = clock_.Now() - start;
          absl::MutexLock lock(&mutex);
          slowest = std::max(slowest, took);
          first_error.Update(status);
          if (answer != nullptr) *answer = std::move(outputs);
        },
        options_.executor_wait_max);
    TORCHD_RETURN_IF_ERROR(first_error);
    if (ran == 0) return absl::UnavailableError("every executor is busy with one long run");
    return slowest;
  }

  absl::Status Settle(int64_t length) {
    const std::vector<Tensor> ones = TrialRow(model_.signature().inputs, length);
    const RowInputs row = ViewsOf(ones);
    std::vector<Duration> times;
    Instant end = kNever;
    while (true) {
      const auto least = static_cast<size_t>(options_.runs);
      if (times.size() >= least) {
        if (end == kNever) end = clock_.Now() + kSettlingMax;
        if (least == 0 || TimesSettled(times) || clock_.Now() >= end) break;
      }
      const auto took = RunOnce({&row});
      if (!took.ok()) {
        return absl::Status(took.status().code(),
                            absl::StrCat("warming up: ", took.status().message()));
      }
      times.push_back(*took);
    }
    if (times.empty()) return absl::OkStatus();
    const size_t last = std::min(times.size(), kSettledRuns);
    costs_.push_back(
        {length, 1, Median({times.end() - static_cast<std::ptrdiff_t>(last), times.end()})});
    return absl::OkStatus();
  }

  // Rows must not know of each other.
  absl::Status CheckJoins(int64_t length) {
    const std::vector<Tensor> ones = TrialRow(model_.signature().inputs, length);
    const std::vector<Tensor> others = OtherRow(ones);
    const RowInputs first = ViewsOf(ones);
    const RowInputs second = ViewsOf(others);
    std::vector<Tensor> first_alone;
    std::vector<Tensor> second_alone;
    std::vector<Tensor> joined;
    TORCHD_RETURN_IF_ERROR(RunOnce({&first}, &first_alone).status());
    TORCHD_RETURN_IF_ERROR(RunOnce({&second}, &second_alone).status());
    TORCHD_RETURN_IF_ERROR(RunOnce({&first, &second}, &joined).status());
    return CheckSameAnswer(Joined(std::move(first_alone), second_alone), joined,
                           SameAnswerTolerance(config_));
  }

  // Doubles the rows for as long as that is asked for, or pays. What did not pay does not stay.
  absl::Status Grow(int64_t length) {
    int bucket = 1;
    size_t in_vain = 0;
    double least_per_row = costs_.empty() ? 0 : Seconds(costs_.back().time);
    while (bucket < rows_max_ && !costs_.empty()) {
      const Measured& last = costs_.back();
      if (last.time * 2 > run_max_ || (config_.rows_per_batch_max == 0 && in_vain == 2)) break;
      bucket = std::min(bucket * 2, rows_max_);
      const size_t before = costs_.size();
      TORCHD_RETURN_IF_ERROR(Measure(length, bucket));
      if (costs_.size() == before) break;  // No time is left.
      buckets_.push_back(bucket);
      const double per_row = Seconds(costs_.back().time) / bucket;
      const bool pays = per_row < kWorthIt * least_per_row;
      if (pays) least_per_row = per_row;
      in_vain = pays ? 0 : in_vain + 1;
    }
    if (config_.rows_per_batch_max == 0) {
      buckets_.resize(buckets_.size() - in_vain);
      costs_.resize(costs_.size() - in_vain);
      return absl::OkStatus();
    }
    // What was asked for goes, measured or not.
    while (buckets_.back() < rows_max_) {
      buckets_.push_back(std::min(buckets_.back() * 2, rows_max_));
    }
    return absl::OkStatus();
  }

  absl::Status Measure(int64_t length, int bucket) {
    if (!HasTime()) return absl::OkStatus();
    const std::vector<Tensor> ones = TrialRow(model_.signature().inputs, length);
    const RowInputs row = ViewsOf(ones);
    const std::vector<const RowInputs*> rows(static_cast<size_t>(bucket), &row);
    std::vector<Duration> times;
    for (int run = 0; run < kBatchRuns && (run < 2 || HasTime()); ++run) {
      const auto took = RunOnce(rows);
      if (!took.ok()) {
        return absl::Status(took.status().code(),
                            absl::StrCat("warming up with ", bucket, " rows of length ", length,
                                         ": ", took.status().message()));
      }
      if (run > 0) times.push_back(*took);
    }
    costs_.push_back({length, bucket, Median(std::move(times))});
    return absl::OkStatus();
  }

  std::unique_ptr<Lane> MakeLane() const {
    LaneOptions lane;
    lane.buckets = buckets_;
    lane.rows_waiting_max = config_.queue.rows_waiting_max > 0 ? config_.queue.rows_waiting_max
                                                               : options_.rows_waiting_max;
    lane.delay_max = std::chrono::microseconds(config_.queue.delay_us_max);
    lane.regroup_max = std::chrono::microseconds(config_.queue.regroup_us_max);
    lane.executors_max = config_.queue.executors_max;
    lane.ageing = std::chrono::milliseconds(config_.queue.ageing_ms);
    lane.note = note_;
    auto made = std::make_unique<Lane>(model_, std::move(lane));
    for (const Measured& cost : costs_) {
      made->costs.Add(ShapeClassOfLength(cost.length), cost.bucket, cost.time);
    }
    return made;
  }

  Model& model_;
  const ModelConfig& config_;
  const WarmUpOptions& options_;
  Executors& executors_;
  const Clock& clock_;
  int rows_max_ = 1;
  Duration run_max_{0};
  Instant end_ = kNever;
  std::vector<int> buckets_ = {1};
  std::vector<Measured> costs_;
  std::string note_;
};

}  // namespace

bool TimesSettled(absl::Span<const Duration> times) {
  if (times.size() < kSettledRuns) return false;
  const Duration fastest = *std::min_element(times.begin(), times.end());
  const Duration most = std::max(fastest + fastest / 4, fastest + kNoise);
  return std::all_of(times.end() - kSettledRuns, times.end(),
                     [most](Duration time) { return time <= most; });
}

absl::StatusOr<std::unique_ptr<Lane>> WarmUp(Model& model, const ModelConfig& config,
                                             const WarmUpOptions& options, Executors& executors,
                                             const Clock& clock) {
  return WarmUpOfOne(model, config, options, executors, clock).Run();
}

absl::StatusOr<std::vector<Tensor>> RunTrialRow(Model& model, Executors& executors,
                                                Duration executor_wait_max) {
  absl::Mutex mutex;
  absl::StatusOr<std::vector<Tensor>> answer =
      absl::UnavailableError("every executor is busy with one long run");
  executors.RunOnEach(
      [&] {
        auto ran = RunTrialRow(model);
        absl::MutexLock lock(&mutex);
        answer = std::move(ran);
      },
      executor_wait_max);
  return answer;
}

}  // namespace torchd
