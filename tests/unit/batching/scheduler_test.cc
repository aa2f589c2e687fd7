// What runs next, and with whom. Waiting for company: scheduler_company_test.cc.
#include "server/batching/scheduler.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/batching/scheduler_fixture.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(SchedulerTest, EmptyHasNothing) {
  EXPECT_THAT(Next(), IsEmpty());
  EXPECT_EQ(scheduler_->rows_waiting(), 0);
  EXPECT_EQ(scheduler_->NextSweepTime(), kNever);
  EXPECT_EQ(scheduler_->NextHoldEnd(), kNever);
}

TEST_F(SchedulerTest, AnIdleExecutorTakesARowAtOnce) {
  Lane& lane = NewLane(FixedCost());
  EXPECT_THAT(Next(), IsEmpty());  // So it is idle.
  const Request* row = Push(lane);
  EXPECT_THAT(Next(), ElementsAre(row));
  EXPECT_EQ(batch_.lane, &lane);
  EXPECT_EQ(batch_.bucket, 1);
  EXPECT_EQ(batch_.reason, Dispatch::kIdle);
  EXPECT_EQ(scheduler_->rows_waiting(), 0);
}

TEST_F(SchedulerTest, RowsOfUnmeasuredModelsRunToo) {
  Lane& lane = NewLane({});
  PushMany(lane, 20);
  size_t rows = Next().size();
  while (scheduler_->rows_waiting() > 0) rows += FinishedAndNext().size();
  EXPECT_EQ(rows, 20u);
}

TEST_F(SchedulerTest, WhatQueuedMeanwhileRidesTogether) {
  Lane& lane = NewLane(FixedCost());
  Occupy(lane);
  PushMany(lane, 10);
  EXPECT_EQ(scheduler_->RowsWaiting(lane), 10);
  EXPECT_THAT(FinishedAndNext(), SizeIs(8));
  EXPECT_EQ(batch_.bucket, 8);
  EXPECT_EQ(batch_.reason, Dispatch::kFull);
  EXPECT_THAT(FinishedAndNext(), SizeIs(2));
  EXPECT_EQ(batch_.bucket, 2);
  EXPECT_EQ(batch_.reason, Dispatch::kNext);
}

TEST_F(SchedulerTest, PadsUpWhenFasterThanTwoRuns) {
  Lane& lane = NewLane(FixedCost());
  Occupy(lane);
  PushMany(lane, 5);
  EXPECT_THAT(FinishedAndNext(), SizeIs(5));
  EXPECT_EQ(batch_.bucket, 8);
}

TEST_F(SchedulerTest, RunsOneByOneWhatGainsNothingTogether) {
  Lane& lane = NewLane(Linear());
  Occupy(lane);
  PushMany(lane, 8);
  EXPECT_THAT(FinishedAndNext(), SizeIs(1));
  EXPECT_EQ(batch_.bucket, 1);
}

TEST_F(SchedulerTest, ABatchHoldsRowsInTheOrderTheyCame) {
  Lane& lane = NewLane(FixedCost());
  Occupy(lane);
  const Request* first = Push(lane);
  const Request* second = Push(lane);
  const Request* third = Push(lane);
  EXPECT_THAT(FinishedAndNext(), ElementsAre(first, second, third));
}

TEST_F(SchedulerTest, ShapesNeverShareABatch) {
  Lane& lane = NewLane(FixedCost());
  Measure(lane.costs, {4}, FixedCost());
  Occupy(lane);
  const Request* small = Push(lane, {.size = 3});
  now_ += milliseconds(1);
  const Request* large = Push(lane, {.size = 4});
  const Request* small_too = Push(lane, {.size = 3});
  EXPECT_THAT(FinishedAndNext(), ElementsAre(small, small_too));
  EXPECT_EQ(batch_.shape, ShapeClass({3}));
  EXPECT_THAT(FinishedAndNext(), ElementsAre(large));
  EXPECT_EQ(batch_.shape, ShapeClass({4}));
}

TEST_F(SchedulerTest, ModelsNeverShareABatch) {
  Lane& first = NewLane(FixedCost());
  Lane& second = NewLane(FixedCost());
  Occupy(first);
  PushMany(first, 2);
  PushMany(second, 2);
  EXPECT_THAT(FinishedAndNext(), SizeIs(2));
  const Lane* ran = batch_.lane;
  EXPECT_THAT(FinishedAndNext(), SizeIs(2));
  EXPECT_NE(batch_.lane, ran);
}

TEST_F(SchedulerTest, SeveralExecutorsRunOneModelAtOnce) {
  scheduler_ = std::make_unique<Scheduler>(2);
  Lane& lane = NewLane(Linear());
  PushMany(lane, 2);
  EXPECT_THAT(Next(0), SizeIs(1));
  EXPECT_THAT(Next(1), SizeIs(1));
}

TEST_F(SchedulerTest, ExecutorsMaxLeavesTheOthersToOtherModels) {
  scheduler_ = std::make_unique<Scheduler>(2);
  LaneOptions options = UpTo8();
  options.executors_max = 1;
  Lane& limited = NewLane(Linear(), options);
  Lane& other = NewLane(Linear());
  PushMany(limited, 2);
  EXPECT_THAT(Next(0), SizeIs(1));
  EXPECT_THAT(Next(1), IsEmpty());
  const Request* row = Push(other);
  EXPECT_THAT(Next(1), ElementsAre(row));
  EXPECT_THAT(FinishedAndNext(kRun, 1), IsEmpty());
  EXPECT_THAT(FinishedAndNext(Duration(0), 0), SizeIs(1));
  EXPECT_EQ(batch_.lane, &limited);
}

TEST_F(SchedulerTest, AnExecutorThatDoesSomethingElseIsBusy) {
  Lane& lane = NewLane(FixedCost());
  scheduler_->SetBusy(0, now_);
  PushMany(lane, 3);
  EXPECT_THAT(FinishedAndNext(std::chrono::seconds(5)), SizeIs(3));
}

// The last row's completion may drop the last handle of its model, before Finished().
TEST_F(SchedulerTest, ALaneMayEndWithTheLastRowThatRan) {
  scheduler_ = std::make_unique<Scheduler>(2);
  Lane& other = NewLane(FixedCost());
  auto ended = std::make_unique<OwnLane>(UpTo8());
  Occupy(ended->lane, 0);
  gone_.clear();
  ended = nullptr;
  const Request* row = Push(other);
  EXPECT_THAT(Next(1), ElementsAre(row));
  Push(other, {.deadline_in = milliseconds(100)});
  scheduler_->Sweep(now_, dropped_);
  scheduler_->Finished(0, now_);
  EXPECT_THAT(Next(0), SizeIs(1));
}

// --- Whose turn it is ---

TEST_F(SchedulerTest, TheEarlierDeadlineGoesFirst) {
  Lane& first = NewLane(FixedCost());
  Lane& second = NewLane(FixedCost());
  Occupy(first);
  Push(first, {.deadline_in = milliseconds(100)});
  const Request* urgent = Push(second, {.deadline_in = milliseconds(50)});
  EXPECT_THAT(FinishedAndNext(), ElementsAre(urgent));
}

// 48 ms until it must begin, against 33.
TEST_F(SchedulerTest, TheLeastSlackGoesFirstNotTheEarliestDeadline) {
  Lane& quick = NewLane({{1, kRun}});
  Lane& slow = NewLane({{1, 8 * kRun}});
  Occupy(quick);
  Push(quick, {.deadline_in = milliseconds(60)});
  const Request* urgent = Push(slow, {.deadline_in = milliseconds(115)});
  EXPECT_THAT(FinishedAndNext(), ElementsAre(urgent));
}

TEST_F(SchedulerTest, ADeadlineGoesBeforeRowsWithoutOne) {
  Lane& first = NewLane(FixedCost());
  Lane& second = NewLane(FixedCost());
  Occupy(first);
  Push(first);
  const Request* urgent = Push(second, {.deadline_in = 4 * kRun});
  EXPECT_THAT(FinishedAndNext(), ElementsAre(urgent));
}

TEST_F(SchedulerTest, ModelsTakeTurnsThoughOneFloods) {
  Lane& flooded = NewLane(FixedCost());
  Lane& polite = NewLane(FixedCost());
  Occupy(flooded);
  PushMany(flooded, 100);
  now_ += milliseconds(1);
  const Request* row = Push(polite);
  int before = 0;
  while (FinishedAndNext() != std::vector{row} && before < 100) {
    PushMany(flooded, 8);
    ++before;
  }
  EXPECT_LE(before, 1);
}

TEST_F(SchedulerTest, ShapesTakeTurnsThoughOneFloods) {
  Lane& lane = NewLane(FixedCost());
  Measure(lane.costs, {4}, FixedCost());
  Occupy(lane);
  PushMany(lane, 100);
  now_ += milliseconds(1);
  const Request* row = Push(lane, {.size = 4});
  int before = 0;
  while (FinishedAndNext() != std::vector{row} && before < 100) {
    PushMany(lane, 8);
    ++before;
  }
  EXPECT_LE(before, 1);
}

// A model that comes with many shapes has no more turns than one with a single shape.
TEST_F(SchedulerTest, ManyShapesWinNoMoreTurns) {
  Lane& many = NewLane(FixedCost());
  Lane& one = NewLane(FixedCost());
  Occupy(many);
  for (int64_t size = 1; size <= 10; ++size) Push(many, {.size = size});
  now_ += milliseconds(1);
  const Request* row = Push(one);
  int before = 0;
  while (FinishedAndNext() != std::vector{row} && before < 100) ++before;
  EXPECT_LE(before, 2);
}

// Deadlines that are always near must not keep a model without deadlines from running.
TEST_F(SchedulerTest, AFloodOfDeadlinesDoesNotStarveOtherModels) {
  Lane& flooded = NewLane(FixedCost());
  Lane& patient = NewLane(FixedCost());
  Occupy(flooded);
  const Request* row = Push(patient);
  const Instant pushed = now_;
  bool ran = false;
  while (!ran && now_ < pushed + std::chrono::seconds(10)) {
    for (int i = 0; i < 8; ++i) Push(flooded, {.deadline_in = milliseconds(50)});
    ran = FinishedAndNext() == std::vector{row};
  }
  EXPECT_TRUE(ran);
  EXPECT_LE(now_ - pushed, 2 * patient.options.ageing);
}

}  // namespace
}  // namespace torchd
