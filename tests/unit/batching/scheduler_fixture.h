// A scheduler with a clock of the test's own, for tables of decisions.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/batching/refusal.h"
#include "server/batching/scheduler.h"
#include "tests/unit/batching/rows.h"

namespace torchd {

inline constexpr std::chrono::milliseconds kRun{10};  // What most lanes here take for a run.

// Twice the rows in the same time, up to 8.
inline RunTimesByBucket FixedCost() { return {{1, kRun}, {2, kRun}, {4, kRun}, {8, kRun}}; }
// Twice the rows, twice the time.
inline RunTimesByBucket Linear() {
  return {{1, kRun}, {2, 2 * kRun}, {4, 4 * kRun}, {8, 8 * kRun}};
}

inline LaneOptions UpTo8() {
  LaneOptions options;
  options.buckets = {1, 2, 4, 8};
  return options;
}

class SchedulerTest : public ::testing::Test {
 protected:
  // Lives as long as the test; each size that a test uses was measured.
  Lane& NewLane(const RunTimesByBucket& took, LaneOptions options = UpTo8()) {
    lanes_.push_back(std::make_unique<OwnLane>(std::move(options)));
    Lane& lane = lanes_.back()->lane;
    if (!took.empty()) Measure(lane.costs, {3}, took);
    return lane;
  }

  // The row, or null when it was refused: see refused_.
  const Request* Push(Lane& lane, const RowKind& kind = {}) {
    auto row = RowOf(lane, kind, now_);
    const Request* known = row.get();
    refused_ = scheduler_->Push(std::move(row), now_, dropped_);
    EXPECT_EQ(row == nullptr, refused_.ok()) << "moves from the request only when it is admitted";
    if (!refused_.ok()) gone_.push_back(std::move(row));  // So that no other has its address.
    return refused_.ok() ? known : nullptr;
  }

  void PushMany(Lane& lane, int rows, const RowKind& kind = {}) {
    for (int i = 0; i < rows; ++i) ASSERT_NE(Push(lane, kind), nullptr) << refused_;
  }

  // What `executor` runs now, as pointers that stay valid.
  std::vector<const Request*> Next(int executor = 0) {
    batch_ = scheduler_->Next(executor, now_, dropped_);
    std::vector<const Request*> rows;
    for (auto& row : batch_.rows) {
      rows.push_back(row.get());
      gone_.push_back(std::move(row));
    }
    return rows;
  }

  // `executor` gets nothing else until Finished().
  void Occupy(Lane& lane, int executor = 0) {
    ASSERT_NE(Push(lane), nullptr) << refused_;
    ASSERT_EQ(Next(executor).size(), 1u);
  }

  // After `later`, `executor` has ended its run: what it runs next.
  std::vector<const Request*> FinishedAndNext(Duration later = kRun, int executor = 0) {
    now_ += later;
    scheduler_->Finished(executor, now_);
    return Next(executor);
  }

  void ExpectRefused(Refusal why, absl::StatusCode code) const {
    ExpectStatus(refused_, why, code);
  }

  // Requires: one was dropped.
  void ExpectDropped(const Request* row, Refusal why, absl::StatusCode code) const {
    ASSERT_EQ(dropped_.size(), 1u);
    EXPECT_EQ(dropped_[0].request.get(), row);
    ExpectStatus(dropped_[0].why, why, code);
  }

  Instant now_{std::chrono::hours(1)};
  std::vector<std::unique_ptr<OwnLane>> lanes_;
  std::unique_ptr<Scheduler> scheduler_ = std::make_unique<Scheduler>(1);
  Dropped dropped_;
  Batch batch_;  // The last that Next() gave, without its rows.
  absl::Status refused_;
  std::vector<std::unique_ptr<Request>> gone_;

 private:
  static void ExpectStatus(const absl::Status& status, Refusal why, absl::StatusCode code) {
    EXPECT_EQ(status.code(), code) << status;
    ASSERT_TRUE(RefusalIn(status).has_value()) << status;
    EXPECT_EQ(*RefusalIn(status), why) << status;
    if (code != absl::StatusCode::kResourceExhausted) return;
    ASSERT_TRUE(RetryAfter(status).has_value()) << status;
    EXPECT_GT(*RetryAfter(status), Duration(0)) << status;
  }
};

}  // namespace torchd
