// More than the executors can do, in virtual time: what is admitted is answered in time, and that
// is nearly as much as can be.
#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/batching/scheduler.h"
#include "tests/unit/batching/rows.h"
#include "tests/unit/batching/script.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr microseconds kAnswering{100};  // After each run, in the executor's time.

struct Overload {
  const char* name;
  int executors;
  int executors_max;
  std::vector<int> buckets;
  microseconds fixed;
  microseconds per_row;
  milliseconds deadline;
};

class OverloadTest : public ::testing::TestWithParam<Overload> {};

class OverloadWorld {
 public:
  explicit OverloadWorld(const Overload& overload)
      : overload_(overload),
        lane_(OptionsOf(overload)),
        scheduler_(overload.executors),
        runs_(static_cast<size_t>(overload.executors)) {
    RunTimesByBucket took;
    for (const int bucket : overload.buckets) {
      took[bucket] = Takes(bucket);
      const double rate = bucket / Seconds(Takes(bucket) + kAnswering);
      best_ = std::max(best_, rate * Executors());
    }
    Measure(lane_.lane.costs, {3}, took, 2);
  }

  // `times` as much as can be done, for so long.
  void Run(double times, Duration length) {
    const Instant end = now_ + length;
    Instant arrives = now_;
    while (now_ < end) {
      now_ = std::min(arrives, scheduler_.NextSweepTime());
      for (const Running& run : runs_) now_ = std::min(now_, run.ends);
      EndRuns();
      if (arrives <= now_) {
        Push();
        const double gap = -std::log((dice_.Below(1'000'000) + 1) / 1e6) / (times * best_);
        arrives = now_ + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(gap));
      }
      if (scheduler_.NextSweepTime() <= now_) scheduler_.Sweep(now_, dropped_);
      for (size_t i = 0; i < runs_.size(); ++i) Offer(i);
      missed_ += static_cast<int>(dropped_.size());
      dropped_.clear();
    }
    goodput_ = good_ / Seconds(length) / best_;
  }

  double goodput() const { return goodput_; }
  double missed() const { return static_cast<double>(missed_) / admitted_; }

 private:
  struct Running {
    Batch batch;
    Instant began;
    Duration takes{0};
    Instant ends = kNever;  // And its rows are answered.
  };

  static LaneOptions OptionsOf(const Overload& overload) {
    LaneOptions options;
    options.buckets = overload.buckets;
    options.executors_max = overload.executors_max;
    options.regroup_max = milliseconds(10);
    return options;
  }

  int Executors() const {
    return overload_.executors_max > 0 ? overload_.executors_max : overload_.executors;
  }
  Duration Takes(int bucket) const { return overload_.fixed + bucket * overload_.per_row; }

  // Within 6 % as a rule; one in 300 takes up to 40 ms more.
  Duration Takes(int bucket, Dice& dice) const {
    Duration takes = Takes(bucket) * (940 + dice.Below(60) + dice.Below(60)) / 1000;
    if (dice.Below(300) == 0) takes += microseconds(dice.Below(40'000));
    return takes;
  }

  void Push() {
    auto row = RowOf(lane_.lane, {.deadline_in = overload_.deadline}, now_);
    if (scheduler_.Push(std::move(row), now_, dropped_).ok()) ++admitted_;
  }

  void EndRuns() {
    for (size_t i = 0; i < runs_.size(); ++i) {
      Running& run = runs_[i];
      if (run.ends > now_) continue;
      for (const auto& row : run.batch.rows) ++(row->deadline >= now_ ? good_ : missed_);
      lane_.lane.costs.Add(run.batch.shape, run.batch.bucket, run.takes);
      scheduler_.Finished(static_cast<int>(i), now_, kAnswering);
      run = {};
    }
  }

  void Offer(size_t executor) {
    Running& run = runs_[executor];
    if (run.ends != kNever) return;
    run.batch = scheduler_.Next(static_cast<int>(executor), now_, dropped_);
    if (run.batch.rows.empty()) return;
    run.takes = Takes(run.batch.bucket, dice_);
    run.ends = now_ + run.takes + kAnswering;
  }

  const Overload& overload_;
  OwnLane lane_;
  Scheduler scheduler_;
  std::vector<Running> runs_;
  Dropped dropped_;
  Dice dice_{1};
  Instant now_{std::chrono::hours(1)};
  double best_ = 0;  // Rows per second.
  double goodput_ = 0;
  int admitted_ = 0, good_ = 0, missed_ = 0;
};

TEST_P(OverloadTest, AnswersInTimeWhatItAdmitsAndAdmitsWhatItCan) {
  for (const int times : {3, 10}) {
    OverloadWorld world(GetParam());
    world.Run(times, seconds(20));
    EXPECT_GE(world.goodput(), times == 3 ? 0.95 : 0.8) << times;
    EXPECT_LE(world.missed(), 0.02) << times;
    RecordProperty(absl::StrCat("goodput", times), absl::StrCat(world.goodput()));
    RecordProperty(absl::StrCat("missed", times), absl::StrCat(world.missed()));
  }
}

constexpr milliseconds kShort{50}, kLong{200};
const std::vector<int> kOne = {1}, kTo4 = {1, 2, 4}, kTo8 = {1, 2, 4, 8};
constexpr microseconds kRow{10'000}, kLittle{5'000};

INSTANTIATE_TEST_SUITE_P(
    Scheduler, OverloadTest,
    ::testing::Values(Overload{"one", 1, 0, kOne, {}, kRow, kLong},
                      Overload{"two", 2, 0, kOne, {}, kRow, kLong},
                      Overload{"four", 4, 0, kOne, {}, kRow, kLong},
                      Overload{"one_of_four", 4, 1, kOne, {}, kRow, kLong},
                      Overload{"one_short", 1, 0, kOne, {}, kRow, kShort},
                      Overload{"two_short", 2, 0, kOne, {}, kRow, kShort},
                      Overload{"four_short", 4, 0, kOne, {}, kRow, kShort},
                      Overload{"one_of_four_short", 4, 1, kOne, {}, kRow, kShort},
                      Overload{"one_linear", 1, 0, kTo4, {}, kRow, kLong},
                      Overload{"four_linear", 4, 0, kTo4, {}, kRow, kLong},
                      Overload{"one_of_four_linear", 4, 1, kTo4, {}, kRow, kLong},
                      Overload{"one_fixed", 1, 0, kTo8, 4 * kLittle, kLittle, kLong},
                      Overload{"two_fixed", 2, 0, kTo8, 4 * kLittle, kLittle, kLong},
                      Overload{"four_fixed", 4, 0, kTo8, 4 * kLittle, kLittle, kLong},
                      Overload{"one_of_four_fixed", 4, 1, kTo8, 4 * kLittle, kLittle, kLong},
                      Overload{"one_fixed_short", 1, 0, kTo8, kLittle, microseconds(500), kShort}),
    [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace torchd
