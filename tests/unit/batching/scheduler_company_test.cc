// How long an idle executor leaves a row waiting for company.
#include <algorithm>
#include <atomic>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/batching/scheduler_fixture.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

LaneOptions WithDelay(Duration delay_max) {
  LaneOptions options = UpTo8();
  options.delay_max = delay_max;
  return options;
}

TEST_F(SchedulerTest, WaitsForCompanyNoLongerThanDelayMax) {
  Lane& lane = NewLane(FixedCost(), WithDelay(milliseconds(5)));
  const Request* row = Push(lane);
  EXPECT_THAT(Next(), IsEmpty());
  EXPECT_EQ(scheduler_->NextHoldEnd(), now_ + milliseconds(5));
  now_ += milliseconds(4);
  EXPECT_THAT(Next(), IsEmpty());
  now_ += milliseconds(1);
  EXPECT_THAT(Next(), ElementsAre(row));
  EXPECT_EQ(batch_.reason, Dispatch::kDelay);
  EXPECT_EQ(scheduler_->NextHoldEnd(), kNever);
}

TEST_F(SchedulerTest, TheOldestRowDecidesHowLongCompanyIsWaitedFor) {
  Lane& lane = NewLane(FixedCost(), WithDelay(milliseconds(5)));
  const Request* first = Push(lane);
  EXPECT_THAT(Next(), IsEmpty());
  now_ += milliseconds(3);
  const Request* second = Push(lane);
  EXPECT_THAT(Next(), IsEmpty());
  EXPECT_EQ(scheduler_->NextHoldEnd(), now_ + milliseconds(2));
  now_ += milliseconds(2);
  EXPECT_THAT(Next(), ElementsAre(first, second));
}

TEST_F(SchedulerTest, AFullBatchWaitsForNobody) {
  Lane& lane = NewLane(FixedCost(), WithDelay(milliseconds(5)));
  PushMany(lane, 7);
  EXPECT_THAT(Next(), IsEmpty());
  Push(lane);
  EXPECT_THAT(Next(), SizeIs(8));
  EXPECT_EQ(batch_.reason, Dispatch::kFull);
}

TEST_F(SchedulerTest, NoDelayWhereCompanyDoesNotPay) {
  Lane& lane = NewLane(Linear(), WithDelay(milliseconds(5)));
  Push(lane);
  EXPECT_THAT(Next(), SizeIs(1));
}

TEST_F(SchedulerTest, NoDelayWhereOnlyOneRowFits) {
  LaneOptions options;
  options.delay_max = milliseconds(5);
  Lane& lane = NewLane({{1, kRun}}, options);
  Push(lane);
  EXPECT_THAT(Next(), SizeIs(1));
}

TEST_F(SchedulerTest, WaitingForCompanyNeverMissesADeadline) {
  Lane& lane = NewLane(FixedCost(), WithDelay(milliseconds(50)));
  const Request* row = Push(lane, {.deadline_in = milliseconds(30)});
  const Instant deadline = now_ + milliseconds(30);
  EXPECT_THAT(Next(), IsEmpty());
  ASSERT_LE(scheduler_->NextHoldEnd(), deadline - kRun);
  now_ = scheduler_->NextHoldEnd();
  EXPECT_THAT(Next(), ElementsAre(row));
  EXPECT_THAT(dropped_, IsEmpty());
}

TEST_F(SchedulerTest, AnUrgentNewcomerEndsTheWaitForCompany) {
  Lane& lane = NewLane(FixedCost(), WithDelay(milliseconds(50)));
  Push(lane);
  EXPECT_THAT(Next(), IsEmpty());
  now_ += milliseconds(1);
  Push(lane, {.deadline_in = kRun + kRun / 2});
  now_ = std::min(now_ + kRun / 5, scheduler_->NextHoldEnd());
  if (Next().empty()) {
    ASSERT_LE(scheduler_->NextHoldEnd(), now_ + kRun / 5);
    now_ = scheduler_->NextHoldEnd();
    EXPECT_THAT(Next(), SizeIs(2));
  }
  EXPECT_THAT(dropped_, IsEmpty());
}

// Four together take 14 ms, one alone 11: the company of three more must not cost the first its
// deadline.
TEST_F(SchedulerTest, CompanyMakesNobodyLate) {
  Lane& lane = NewLane(
      {{1, milliseconds(11)}, {2, milliseconds(12)}, {4, milliseconds(14)}, {8, milliseconds(18)}},
      WithDelay(milliseconds(50)));
  const Request* first = Push(lane, {.deadline_in = milliseconds(15)});
  EXPECT_THAT(Next(), IsEmpty());
  now_ += milliseconds(1);
  PushMany(lane, 4);
  EXPECT_THAT(Next(), ::testing::Contains(first));
  EXPECT_THAT(dropped_, IsEmpty());
}

TEST_F(SchedulerTest, RowsThatWaitForCompanyHoldUpNobodyElse) {
  Lane& patient = NewLane(FixedCost(), WithDelay(milliseconds(50)));
  Lane& other = NewLane(FixedCost());
  Push(patient);
  EXPECT_THAT(Next(), IsEmpty());
  const Request* row = Push(other, {.deadline_in = milliseconds(100)});
  EXPECT_THAT(Next(), ElementsAre(row));
}

// Had they not waited for company they would run already.
TEST_F(SchedulerTest, RowsThatWaitForCompanyDoNotWaitForOthersBesides) {
  Lane& patient = NewLane(FixedCost(), WithDelay(milliseconds(50)));
  Lane& other = NewLane(FixedCost());
  const Request* row = Push(patient, {.deadline_in = milliseconds(100)});
  EXPECT_THAT(Next(), IsEmpty());
  Push(other);
  EXPECT_THAT(Next(), ElementsAre(row));
}

TEST_F(SchedulerTest, AFullQueueWaitsForNobody) {
  LaneOptions options = WithDelay(milliseconds(50));
  options.rows_waiting_max = 4;
  Lane& lane = NewLane(FixedCost(), options);
  PushMany(lane, 3);
  EXPECT_THAT(Next(), IsEmpty());
  Push(lane);
  EXPECT_THAT(Next(), SizeIs(4));
}

TEST_F(SchedulerTest, NobodyWaitsForCompanyWhereThatIsNotAllowed) {
  Lane& lane = NewLane(FixedCost(), WithDelay(milliseconds(50)));
  Push(lane);
  EXPECT_THAT(scheduler_->Next(0, now_, dropped_, /*may_hold=*/false).rows, SizeIs(1));
}

TEST_F(SchedulerTest, ABusyExecutorHasNotWaitedForCompany) {
  Lane& lane = NewLane(FixedCost(), WithDelay(milliseconds(5)));
  scheduler_->SetBusy(0, now_);
  const Request* row = Push(lane);
  EXPECT_THAT(FinishedAndNext(milliseconds(6)), ElementsAre(row));
  EXPECT_EQ(batch_.reason, Dispatch::kNext);
}

TEST_F(SchedulerTest, ADeadlineThatLeavesNoTimeToWaitIsNoDelay) {
  Lane& lane = NewLane(FixedCost(), WithDelay(milliseconds(50)));
  const Request* row = Push(lane, {.deadline_in = kRun + milliseconds(2)});
  EXPECT_THAT(Next(), ElementsAre(row));
  EXPECT_EQ(batch_.reason, Dispatch::kIdle);
}

// Else idle executors would wake for it again and again.
TEST_F(SchedulerTest, TheWaitForCompanyEndsWithTheRowThatWaited) {
  Lane& lane = NewLane(FixedCost(), WithDelay(milliseconds(50)));
  std::atomic<bool> cancelled{false};
  Push(lane, {.cancelled = &cancelled});
  EXPECT_THAT(Next(), IsEmpty());
  cancelled = true;
  now_ = scheduler_->NextSweepTime();
  scheduler_->Sweep(now_, dropped_);
  EXPECT_THAT(dropped_, SizeIs(1));
  EXPECT_THAT(Next(), IsEmpty());
  EXPECT_EQ(scheduler_->NextHoldEnd(), kNever);
}

}  // namespace
}  // namespace torchd
