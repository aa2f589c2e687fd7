// Who is refused because its answer would come too late.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/batching/scheduler.h"
#include "tests/unit/batching/scheduler_fixture.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::SizeIs;

constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
constexpr auto kExceeded = absl::StatusCode::kDeadlineExceeded;

TEST_F(SchedulerTest, RefusesWhatHasExpiredAlready) {
  Lane& lane = NewLane(FixedCost());
  EXPECT_EQ(Push(lane, {.deadline_in = Duration(0)}), nullptr);
  ExpectRefused(Refusal::kDeadline, kExceeded);
}

struct Admission {
  const char* why;
  int ahead;  // Rows that wait, 10 ms each, behind a run of 10 ms.
  int deadline_ms;
  Priority priority;
  bool admitted;
};

class AdmissionTest : public SchedulerTest, public ::testing::WithParamInterface<Admission> {};

TEST_P(AdmissionTest, DependsOnTheQueueAhead) {
  Lane& lane = NewLane(Linear());
  Occupy(lane);
  PushMany(lane, GetParam().ahead);
  RowKind kind;
  kind.deadline_in = milliseconds(GetParam().deadline_ms);
  kind.priority = GetParam().priority;
  EXPECT_EQ(Push(lane, kind) != nullptr, GetParam().admitted) << GetParam().why << refused_;
  if (!GetParam().admitted) ExpectRefused(Refusal::kTooLate, kExhausted);
  EXPECT_EQ(scheduler_->RowsWaiting(lane), GetParam().ahead + (GetParam().admitted ? 1 : 0));
}

INSTANTIATE_TEST_SUITE_P(
    Scheduler, AdmissionTest,
    ::testing::Values(Admission{"70 ms in 30", 5, 30, Priority::kNormal, false},
                      Admission{"70 ms in 60", 5, 60, Priority::kNormal, false},
                      Admission{"70 ms in 110", 5, 110, Priority::kNormal, true},
                      Admission{"goes before the five", 5, 40, Priority::kHigh, true},
                      Admission{"goes behind the five", 5, 40, Priority::kLow, false},
                      Admission{"nobody ahead but the run", 0, 40, Priority::kNormal, true},
                      Admission{"no time even alone", 0, 12, Priority::kNormal, false}));

TEST_F(SchedulerTest, BatchesShortenTheQueueAhead) {
  Lane& lane = NewLane(FixedCost());
  Occupy(lane);
  PushMany(lane, 7);
  EXPECT_NE(Push(lane, {.deadline_in = 3 * kRun}), nullptr) << refused_;  // Rides with the seven.
}

TEST_F(SchedulerTest, MoreExecutorsShortenTheQueueAhead) {
  scheduler_ = std::make_unique<Scheduler>(4);
  Lane& lane = NewLane(Linear());
  for (int executor = 0; executor < 4; ++executor) Occupy(lane, executor);
  PushMany(lane, 8);  // 30 ms on four executors, 90 on one.
  EXPECT_NE(Push(lane, {.deadline_in = milliseconds(60)}), nullptr) << refused_;
}

// The other three are not for it, idle as they are.
TEST_F(SchedulerTest, OnlyTheExecutorsThatALaneMayUseShortenItsQueue) {
  scheduler_ = std::make_unique<Scheduler>(4);
  LaneOptions options = UpTo8();
  options.executors_max = 1;
  Lane& lane = NewLane(Linear(), options);
  Occupy(lane);
  EXPECT_EQ(Push(lane, {.deadline_in = milliseconds(15)}), nullptr);
  ExpectRefused(Refusal::kTooLate, kExhausted);
  PushMany(lane, 5);  // With the run 60 ms.
  EXPECT_EQ(Push(lane, {.deadline_in = milliseconds(60)}), nullptr);
  EXPECT_NE(Push(lane, {.deadline_in = milliseconds(90)}), nullptr) << refused_;
}

// Each of the others' turns is a run as they really run, not as many rows as they may.
TEST_F(SchedulerTest, OthersTakeATurnForEachOfItsRuns) {
  Lane& lane = NewLane(FixedCost());
  Lane& other = NewLane(Linear());
  Occupy(lane);
  PushMany(other, 20);
  EXPECT_NE(Push(lane, {.deadline_in = milliseconds(40)}), nullptr) << refused_;
  PushMany(lane, 16);  // Before the next: two runs of its own and three turns of the other.
  EXPECT_EQ(Push(lane, {.deadline_in = milliseconds(65)}), nullptr);
  EXPECT_NE(Push(lane, {.deadline_in = milliseconds(90)}), nullptr) << refused_;
}

TEST_F(SchedulerTest, TheTimeToAnswerCounts) {
  Lane& lane = NewLane(Linear());
  for (int run = 0; run < 60; ++run) {
    if (run == 0) Occupy(lane);
    PushMany(lane, 1);
    scheduler_->Finished(0, now_, kRun);
    now_ += kRun;
    ASSERT_THAT(Next(), SizeIs(1));
  }
  EXPECT_EQ(Push(lane, {.deadline_in = milliseconds(30)}), nullptr);
  EXPECT_NE(Push(lane, {.deadline_in = milliseconds(40)}), nullptr) << refused_;
}

TEST_F(SchedulerTest, SomethingElseTakesAsLongAsItDidBefore) {
  Lane& lane = NewLane(Linear());
  scheduler_->SetBusy(0, now_, milliseconds(50));
  EXPECT_EQ(Push(lane, {.deadline_in = milliseconds(60)}), nullptr);
  EXPECT_NE(Push(lane, {.deadline_in = milliseconds(90)}), nullptr) << refused_;
}

// What cannot be in time even on an idle executor is only tried.
TEST_F(SchedulerTest, AnIdleExecutorRefusesWhatItCannotDoInTime) {
  Lane& lane = NewLane(Linear());
  int admitted = 0;
  for (int i = 0; i < 160; ++i) {
    if (Push(lane, {.deadline_in = kRun / 2}) == nullptr) continue;
    ++admitted;
    ASSERT_THAT(Next(), SizeIs(1)) << "what is tried must run";
    scheduler_->Finished(0, now_);
  }
  EXPECT_EQ(admitted, 10);
}

TEST_F(SchedulerTest, NothingIsTooLateBeforeAnythingIsMeasured) {
  Lane& lane = NewLane({});
  Occupy(lane);
  PushMany(lane, 100);
  EXPECT_NE(Push(lane, {.deadline_in = milliseconds(1)}), nullptr) << refused_;
}

// One bad measurement, and every request would be refused for ever, unmeasured.
TEST_F(SchedulerTest, AStaleEstimateNeverLocksAModelOut) {
  Lane& lane = NewLane({{1, seconds(10)}}, LaneOptions{});
  int ran = 0;
  for (int i = 0; i < 1000; ++i) {
    if (i == 800) ran = 0;
    now_ += milliseconds(50);
    Push(lane, {.deadline_in = milliseconds(40)});
    if (Next().empty()) continue;
    ++ran;
    now_ += kRun;
    lane.costs.Add({3}, 1, kRun);
    scheduler_->Finished(0, now_);
  }
  EXPECT_EQ(ran, 200);
}

// The same while other models keep the executor busy.
TEST_F(SchedulerTest, AStaleEstimateLocksNoModelOutOfABusyMachine) {
  Lane& stale = NewLane({{1, seconds(10)}}, LaneOptions{});
  Lane& other = NewLane({{1, kRun}}, LaneOptions{});
  Occupy(other);
  int ran = 0;
  for (int i = 0; i < 4000; ++i) {
    if (i == 3000) ran = 0;
    if (scheduler_->RowsWaiting(other) == 0) Push(other);
    Push(stale, {.deadline_in = milliseconds(40)});
    if (FinishedAndNext().empty()) continue;
    if (batch_.lane == &stale) {
      ++ran;
      stale.costs.Add({3}, 1, kRun);
    }
  }
  EXPECT_GE(ran, 300);  // Of the last thousand: every second run is another's.
}

}  // namespace
}  // namespace torchd
