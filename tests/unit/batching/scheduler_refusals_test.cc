// A full queue, who makes room, and what never runs. What is too late: scheduler_admission_test.cc.
#include <algorithm>
#include <atomic>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/batching/scheduler.h"
#include "tests/unit/batching/scheduler_fixture.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kExhausted = absl::StatusCode::kResourceExhausted;
constexpr auto kExceeded = absl::StatusCode::kDeadlineExceeded;

LaneOptions Bound(int rows_waiting_max) {
  LaneOptions options = UpTo8();
  options.rows_waiting_max = rows_waiting_max;
  return options;
}

// --- A full queue ---

TEST_F(SchedulerTest, AFullQueueRefusesAndSaysWhenToComeAgain) {
  Lane& lane = NewLane(FixedCost(), Bound(3));
  Occupy(lane);
  PushMany(lane, 3);
  EXPECT_EQ(Push(lane), nullptr);
  ExpectRefused(Refusal::kQueueFull, kExhausted);
  EXPECT_THAT(dropped_, IsEmpty());
  EXPECT_EQ(scheduler_->RowsWaiting(lane), 3);
}

TEST_F(SchedulerTest, AFullQueueIsNoOtherModelsBusiness) {
  Lane& full = NewLane(FixedCost(), Bound(1));
  Lane& other = NewLane(FixedCost(), Bound(1));
  Occupy(full);
  PushMany(full, 1);
  EXPECT_NE(Push(other), nullptr);
}

TEST_F(SchedulerTest, TheBoundCountsAllShapesOfAModel) {
  Lane& lane = NewLane(FixedCost(), Bound(2));
  Occupy(lane);
  Push(lane, {.size = 3});
  Push(lane, {.size = 4});
  EXPECT_EQ(Push(lane, {.size = 5}), nullptr);
  ExpectRefused(Refusal::kQueueFull, kExhausted);
}

// The more waits, the later another try makes sense.
TEST_F(SchedulerTest, RetryTimeGrowsWithTheQueue) {
  Lane& shorter = NewLane(Linear(), Bound(2));
  Lane& longer = NewLane(Linear(), Bound(50));
  Occupy(shorter);
  PushMany(shorter, 2);
  Push(shorter);
  const Duration soon = RetryAfter(refused_).value_or(Duration(0));
  PushMany(longer, 50);
  Push(longer);
  EXPECT_GT(RetryAfter(refused_).value_or(Duration(0)), soon);
}

TEST_F(SchedulerTest, AHigherPriorityTakesTheNewestPlaceOfALower) {
  Lane& lane = NewLane(FixedCost(), Bound(2));
  Occupy(lane);
  const Request* first = Push(lane);
  const Request* last = Push(lane);
  const Request* high = Push(lane, {.priority = Priority::kHigh});
  ASSERT_NE(high, nullptr);
  ExpectDropped(last, Refusal::kDisplaced, kExhausted);
  EXPECT_THAT(FinishedAndNext(), ElementsAre(high, first));
}

TEST_F(SchedulerTest, TheLowestPriorityMakesRoomFirst) {
  Lane& lane = NewLane(FixedCost(), Bound(3));
  Occupy(lane);
  const Request* low = Push(lane, {.priority = Priority::kLow});
  PushMany(lane, 2);
  ASSERT_NE(Push(lane, {.priority = Priority::kHigh}), nullptr);
  ExpectDropped(low, Refusal::kDisplaced, kExhausted);
}

TEST_F(SchedulerTest, ALowerOrEqualPriorityTakesNoPlace) {
  Lane& lane = NewLane(FixedCost(), Bound(2));
  Occupy(lane);
  PushMany(lane, 2);
  EXPECT_EQ(Push(lane, {.priority = Priority::kNormal}), nullptr);
  EXPECT_EQ(Push(lane, {.priority = Priority::kLow}), nullptr);
  ExpectRefused(Refusal::kQueueFull, kExhausted);
}

TEST_F(SchedulerTest, AGreedyClientMakesRoomForAPoliteOne) {
  Lane& lane = NewLane(FixedCost(), Bound(3));
  Occupy(lane);
  PushMany(lane, 2, {.client = 1});
  const Request* last = Push(lane, {.client = 1});
  ASSERT_NE(Push(lane, {.client = 2}), nullptr);
  ExpectDropped(last, Refusal::kDisplaced, kExhausted);
}

TEST_F(SchedulerTest, TheGreediestMakesRoom) {
  Lane& lane = NewLane(FixedCost(), Bound(6));
  Occupy(lane);
  PushMany(lane, 2, {.client = 1});
  PushMany(lane, 3, {.client = 2});
  const Request* last = Push(lane, {.client = 2});
  ASSERT_NE(Push(lane, {.client = 3}), nullptr);
  ExpectDropped(last, Refusal::kDisplaced, kExhausted);
}

TEST_F(SchedulerTest, EqualClientsDoNotDisplaceEachOther) {
  Lane& lane = NewLane(FixedCost(), Bound(4));
  Occupy(lane);
  PushMany(lane, 2, {.client = 1});
  PushMany(lane, 2, {.client = 2});
  EXPECT_EQ(Push(lane, {.client = 1}), nullptr);
  ExpectRefused(Refusal::kQueueFull, kExhausted);
  EXPECT_EQ(Push(lane, {.client = 2}), nullptr);
}

// A flood of one client leaves a polite one all it asks for, up to half.
TEST_F(SchedulerTest, APoliteClientIsNeverRefusedBesideAGreedyOne) {
  Lane& lane = NewLane(FixedCost(), Bound(16));
  Occupy(lane);
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 20; ++i) Push(lane, {.client = 1});
    EXPECT_NE(Push(lane, {.client = 2}), nullptr) << round << refused_;
    FinishedAndNext();
  }
}

TEST_F(SchedulerTest, PolitenessDoesNotDisplaceHigherPriorities) {
  Lane& lane = NewLane(FixedCost(), Bound(2));
  Occupy(lane);
  PushMany(lane, 2, {.priority = Priority::kHigh, .client = 1});
  EXPECT_EQ(Push(lane, {.client = 2}), nullptr);
  ExpectRefused(Refusal::kQueueFull, kExhausted);
}

TEST_F(SchedulerTest, TheCancelledTakeNoPlaceInAFullQueue) {
  Lane& lane = NewLane(FixedCost(), Bound(2));
  std::atomic<bool> cancelled{false};
  Occupy(lane);
  const Request* gone = Push(lane, {.cancelled = &cancelled});
  PushMany(lane, 1);
  cancelled = true;
  EXPECT_NE(Push(lane), nullptr) << refused_;
  ASSERT_EQ(dropped_.size(), 1u);
  EXPECT_EQ(dropped_[0].request.get(), gone);
  EXPECT_EQ(dropped_[0].why.code(), absl::StatusCode::kCancelled);
}

// --- What never runs ---

TEST_F(SchedulerTest, WhatExpiredInTheQueueNeverRuns) {
  Lane& lane = NewLane({});
  Occupy(lane);
  const Request* late = Push(lane, {.deadline_in = milliseconds(5)});
  const Request* patient = Push(lane);
  auto ran = FinishedAndNext(milliseconds(5));
  if (ran.empty()) ran = Next();
  EXPECT_THAT(ran, ElementsAre(patient));
  ExpectDropped(late, Refusal::kDeadline, kExceeded);
}

TEST_F(SchedulerTest, WhatWasCancelledInTheQueueNeverRuns) {
  Lane& lane = NewLane(FixedCost());
  std::atomic<bool> cancelled{false};
  Occupy(lane);
  const Request* gone = Push(lane, {.cancelled = &cancelled});
  const Request* patient = Push(lane);
  cancelled = true;
  EXPECT_THAT(FinishedAndNext(), ElementsAre(patient));
  ASSERT_EQ(dropped_.size(), 1u);
  EXPECT_EQ(dropped_[0].request.get(), gone);
  EXPECT_EQ(dropped_[0].why.code(), absl::StatusCode::kCancelled);
}

// gRPC cancels a call at its deadline: the metrics must tell it from a caller who left.
TEST_F(SchedulerTest, WhatExpiredIsNotCalledCancelled) {
  Lane& lane = NewLane({});
  std::atomic<bool> cancelled{false};
  Occupy(lane);
  const Request* late = Push(lane, {.deadline_in = milliseconds(5), .cancelled = &cancelled});
  cancelled = true;
  FinishedAndNext(milliseconds(5));
  ExpectDropped(late, Refusal::kDeadline, kExceeded);
}

// Its run would end after its deadline: the time is better spent on another.
TEST_F(SchedulerTest, WhatCanNoLongerMakeItDoesNotRun) {
  Lane& lane = NewLane(FixedCost());
  Occupy(lane);
  const Request* hopeless = Push(lane, {.deadline_in = 10 * kRun});
  const Request* patient = Push(lane);
  EXPECT_THAT(FinishedAndNext(10 * kRun - milliseconds(1)), ElementsAre(patient));
  ASSERT_EQ(dropped_.size(), 1u);
  EXPECT_EQ(dropped_[0].request.get(), hopeless);
  EXPECT_TRUE(RefusalIn(dropped_[0].why).has_value());
}

// Else it would be the most urgent.
TEST_F(SchedulerTest, AHopelessModelTakesNoTurn) {
  Lane& lane = NewLane(Linear());
  Lane& other = NewLane(Linear());
  Occupy(other);
  const Request* hopeless = Push(lane, {.deadline_in = 5 * kRun});
  const Request* row = Push(other, {.deadline_in = 10 * kRun});
  EXPECT_THAT(FinishedAndNext(5 * kRun - milliseconds(1)), ElementsAre(row));
  ExpectDropped(hopeless, Refusal::kDeadline, kExceeded);
}

// A wrong measurement heals also where rows are admitted and then seem hopeless.
TEST_F(SchedulerTest, WhenAllAreHopelessOneIsTriedNowAndThen) {
  Lane& lane = NewLane(Linear());
  int ran = 0;
  for (int i = 0; i < 64; ++i) {
    scheduler_->SetBusy(0, now_);
    PushMany(lane, 3, {.deadline_in = 10 * kRun});
    const auto rows = FinishedAndNext(10 * kRun - milliseconds(5));
    ASSERT_LE(rows.size(), 1u);
    ran += static_cast<int>(rows.size());
    scheduler_->Finished(0, now_);
    ASSERT_EQ(scheduler_->rows_waiting(), 0);
  }
  EXPECT_EQ(ran, 4);
}

// --- Sweeping ---

TEST_F(SchedulerTest, ASweepAnswersTheExpiredBehindABlockedExecutor) {
  Lane& lane = NewLane({});
  Occupy(lane);
  const Request* late = Push(lane, {.deadline_in = milliseconds(50)});
  PushMany(lane, 1);
  const Instant deadline = now_ + milliseconds(50);
  while (dropped_.empty() && now_ < deadline + seconds(1)) {
    const Instant next = scheduler_->NextSweepTime();
    ASSERT_GT(next, now_);
    ASSERT_LE(next, deadline + milliseconds(10));
    now_ = next;
    scheduler_->Sweep(now_, dropped_);
  }
  EXPECT_LE(now_, deadline + milliseconds(10));
  ExpectDropped(late, Refusal::kDeadline, kExceeded);
  EXPECT_EQ(scheduler_->RowsWaiting(lane), 1);
}

TEST_F(SchedulerTest, ASweepLeavesWhatMayStillRun) {
  Lane& lane = NewLane({});
  Occupy(lane);
  PushMany(lane, 2, {.deadline_in = milliseconds(50)});
  now_ += milliseconds(49);
  scheduler_->Sweep(now_, dropped_);
  EXPECT_THAT(dropped_, IsEmpty());
  EXPECT_EQ(scheduler_->rows_waiting(), 2);
}

TEST_F(SchedulerTest, ASweepTakesTheCancelledToo) {
  Lane& lane = NewLane({});
  std::atomic<bool> cancelled{false};
  Occupy(lane);
  Push(lane, {.cancelled = &cancelled});
  cancelled = true;
  ASSERT_LE(scheduler_->NextSweepTime(), now_ + seconds(1));
  now_ = scheduler_->NextSweepTime();
  scheduler_->Sweep(now_, dropped_);
  ASSERT_EQ(dropped_.size(), 1u);
  EXPECT_EQ(dropped_[0].why.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(scheduler_->NextSweepTime(), kNever);
}

TEST_F(SchedulerTest, AnEarlierDeadlineBringsTheSweepForward) {
  Lane& lane = NewLane({});
  Occupy(lane);
  Push(lane, {.deadline_in = seconds(5)});
  Push(lane, {.deadline_in = milliseconds(20)});
  EXPECT_LE(scheduler_->NextSweepTime(), now_ + milliseconds(30));
}

}  // namespace
}  // namespace torchd
