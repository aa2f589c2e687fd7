// Callers who send their next row as soon as they have an answer: whether they share runs.
#include <algorithm>
#include <cmath>
#include <functional>
#include <queue>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/batching/scheduler_fixture.h"
#include "tests/unit/batching/script.h"

namespace torchd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr microseconds kAnswering{30};  // Of a row, in the executor's time.

LaneOptions Regrouping(Duration within) {
  LaneOptions options;
  options.buckets = {1, 2, 4, 8, 16, 32};
  options.regroup_max = within;
  return options;
}

RunTimesByBucket Takes(Duration fixed, Duration per_row) {
  RunTimesByBucket took;
  for (const int bucket : {1, 2, 4, 8, 16, 32}) took[bucket] = fixed + bucket * per_row;
  return took;
}

// One executor in virtual time.
class Loop {
 public:
  Loop(Duration within, Duration fixed, Duration per_row)
      : lane_(Regrouping(within)), took_(Takes(fixed, per_row)) {
    Measure(lane_.lane.costs, {3}, took_);
  }

  // So many callers, each back up to `thinks` after its answer.
  void RunCallers(int callers, Duration thinks, Duration length) {
    const Instant begin = now_;
    for (int i = 0; i < callers; ++i) arrivals_.push(now_ + Some(thinks));
    Run(begin + length, [&](Instant answered) { arrivals_.push(answered + Some(thinks)); });
  }

  // Rows come whenever they like, at this share of what can be done.
  void RunPoisson(double load, Duration length) {
    const int most = took_.rbegin()->first;
    const double rate = load * most / Seconds(took_.rbegin()->second + most * kAnswering);
    const Instant end = now_ + length;
    for (Instant at = now_; at < end;) {
      const double gap = -std::log((dice_.Below(1'000'000) + 1) / 1e6) / rate;
      at += std::chrono::duration_cast<Duration>(std::chrono::duration<double>(gap));
      arrivals_.push(at);
    }
    Run(end, [](Instant) {});
  }

  double RowsPerRun() const { return static_cast<double>(rows_) / runs_; }
  int held() const { return held_; }
  double HeldSeconds() const { return Seconds(held_for_); }

 private:
  Duration Some(Duration most) { return Duration(dice_.Below(static_cast<int>(most.count()) + 1)); }

  template <typename OnAnswer>
  void Run(Instant end, const OnAnswer& on_answer) {
    while (now_ < end) {
      Instant next = arrivals_.empty() ? kNever : arrivals_.top();
      next = std::min(next, busy_ ? ends_ : scheduler_.NextHoldEnd());
      if (next == kNever) break;
      const bool idle_beside_rows = !busy_ && scheduler_.rows_waiting() > 0;
      if (idle_beside_rows) held_for_ += std::max(next, now_) - now_;
      now_ = std::max(now_, next);
      if (busy_ && ends_ <= now_) {
        scheduler_.Finished(0, now_, answering_);
        busy_ = false;
      }
      while (!arrivals_.empty() && arrivals_.top() <= now_) {
        arrivals_.pop();
        ASSERT_TRUE(scheduler_.Push(RowOf(lane_.lane, {}, now_), now_, dropped_).ok());
      }
      if (!busy_) Start(on_answer);
    }
  }

  template <typename OnAnswer>
  void Start(const OnAnswer& on_answer) {
    const Batch batch = scheduler_.Next(0, now_, dropped_);
    if (batch.rows.empty()) return;
    ++runs_;
    rows_ += static_cast<int>(batch.rows.size());
    held_ += batch.reason == Dispatch::kDelay ? 1 : 0;
    ends_ = now_ + took_[batch.bucket];
    answering_ = Duration(0);
    for (size_t i = 0; i < batch.rows.size(); ++i) on_answer(ends_ + (answering_ += kAnswering));
    ends_ += answering_;
    busy_ = true;
  }

  OwnLane lane_;
  RunTimesByBucket took_;
  Scheduler scheduler_{1};
  Dropped dropped_;
  Dice dice_{1};
  std::priority_queue<Instant, std::vector<Instant>, std::greater<>> arrivals_;
  Instant now_{std::chrono::hours(1)};
  Instant ends_;
  Duration answering_{0};
  bool busy_ = false;
  int runs_ = 0, rows_ = 0, held_ = 0;
  Duration held_for_{0};
};

constexpr milliseconds kFixed{30}, kWithin{10};
constexpr std::chrono::seconds kLong{20};

// Without a wait after a run one half's rows run while the other half's queue.
TEST(SchedulerRegroupTest, CallersFallIntoHalvesWhereNobodyWaitsForThem) {
  Loop loop(Duration(0), kFixed, Duration(0));
  loop.RunCallers(32, milliseconds(1), kLong);
  EXPECT_LE(loop.RowsPerRun(), 20);
  EXPECT_EQ(loop.HeldSeconds(), 0);
}

TEST(SchedulerRegroupTest, CallersThatComeBackAtOnceShareOneRun) {
  Loop loop(kWithin, kFixed, Duration(0));
  loop.RunCallers(32, milliseconds(1), kLong);
  EXPECT_GE(loop.RowsPerRun(), 30.5);
}

TEST(SchedulerRegroupTest, ALoneCallerNeverWaits) {
  Loop loop(kWithin, kFixed, Duration(0));
  loop.RunCallers(1, milliseconds(1), kLong);
  EXPECT_EQ(loop.RowsPerRun(), 1);
  EXPECT_EQ(loop.HeldSeconds(), 0);
}

TEST(SchedulerRegroupTest, CallersFarAwayAreNotWaitedFor) {
  Loop loop(kWithin, kFixed, Duration(0));
  loop.RunCallers(32, milliseconds(200), kLong);
  EXPECT_LE(loop.HeldSeconds(), 0.01 * Seconds(kLong));
}

TEST(SchedulerRegroupTest, NobodyWaitsWhereCompanyDoesNotPay) {
  Loop loop(kWithin, Duration(0), milliseconds(2));
  loop.RunCallers(32, milliseconds(1), kLong);
  EXPECT_EQ(loop.HeldSeconds(), 0);
}

TEST(SchedulerRegroupTest, NobodyWaitsWhereRunsAreShort) {
  Loop loop(kWithin, microseconds(300), Duration(0));
  loop.RunCallers(8, microseconds(200), std::chrono::seconds(1));
  EXPECT_EQ(loop.HeldSeconds(), 0);
}

// Who sends rows whenever they like pays next to nothing for those who do not.
TEST(SchedulerRegroupTest, IndependentRowsHardlyWait) {
  constexpr std::chrono::seconds kShorter{5};
  for (const int fixed : {1, 2, 5, 8, 15, 30}) {
    for (const double load : {0.01, 0.1, 0.3, 0.6, 0.9}) {
      Loop loop(kWithin, milliseconds(fixed), Duration(0));
      loop.RunPoisson(load, kShorter);
      EXPECT_LE(loop.HeldSeconds(), 0.02 * Seconds(kShorter)) << fixed << " ms, " << load;
    }
  }
}

TEST(SchedulerRegroupTest, ARunThatWasWaitedForSaysSo) {
  Loop loop(kWithin, kFixed, Duration(0));
  loop.RunCallers(12, milliseconds(1), kLong);
  EXPECT_GE(loop.held(), 0.9 * Seconds(kLong) / Seconds(kFixed + milliseconds(5)));
}

}  // namespace
}  // namespace torchd
