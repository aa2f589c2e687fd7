#include "server/registry/memory_budget.h"

#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace torchd {
namespace {

constexpr int64_t kMebibyte = 1 << 20;

TEST(MemoryBudgetTest, LeaseCountsAsLongAsItLives) {
  MemoryBudget budget(10);
  {
    const auto lease = budget.Reserve(7);
    ASSERT_TRUE(lease.ok());
    EXPECT_EQ(lease->bytes(), 7);
    EXPECT_EQ(budget.reserved(), 7);
  }
  EXPECT_EQ(budget.reserved(), 0);
}

TEST(MemoryBudgetTest, RefusesWhatIsBeyondAndSaysHowMuchThereIs) {
  MemoryBudget budget(10 * kMebibyte);
  const auto first = budget.Reserve(6 * kMebibyte);
  ASSERT_TRUE(first.ok());
  const absl::Status refused = budget.Reserve(4 * kMebibyte + 1).status();
  EXPECT_EQ(refused, absl::ResourceExhaustedError("needs 5 MiB; models have 6 MiB of the 10 MiB "
                                                  "allowed (memory_mb_max)"));
  EXPECT_TRUE(budget.Reserve(4 * kMebibyte).ok());
}

TEST(MemoryBudgetTest, ZeroIsNoLimitButStillCounts) {
  MemoryBudget budget(0);
  const auto lease = budget.Reserve(int64_t{1} << 40);
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(budget.reserved(), int64_t{1} << 40);
}

TEST(MemoryBudgetTest, ResizeThatFailsLeavesTheLeaseAsItWas) {
  MemoryBudget budget(10);
  auto lease = budget.Reserve(4);
  const auto other = budget.Reserve(3);
  ASSERT_TRUE(lease.ok() && other.ok());
  EXPECT_EQ(lease->Resize(8).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(lease->bytes(), 4);
  EXPECT_EQ(budget.reserved(), 7);
  EXPECT_TRUE(lease->Resize(7).ok());
  EXPECT_EQ(budget.reserved(), 10);
  EXPECT_TRUE(lease->Resize(1).ok());
  EXPECT_EQ(budget.reserved(), 4);
}

TEST(MemoryBudgetTest, MovedLeaseCountsOnce) {
  MemoryBudget budget(0);
  auto lease = budget.Reserve(5);
  ASSERT_TRUE(lease.ok());
  {
    MemoryBudget::Lease moved = *std::move(lease);
    EXPECT_EQ(budget.reserved(), 5);
    MemoryBudget::Lease assigned;
    assigned = std::move(moved);
    EXPECT_EQ(assigned.bytes(), 5);
    EXPECT_EQ(budget.reserved(), 5);
  }
  EXPECT_EQ(budget.reserved(), 0);
}

TEST(MemoryBudgetTest, EmptyLeaseCountsNothing) {
  MemoryBudget::Lease lease;
  EXPECT_TRUE(lease.Resize(5).ok());
  EXPECT_EQ(lease.bytes(), 0);
}

TEST(MemoryBudgetTest, LeaseOutlivesItsBudget) {
  auto budget = std::make_unique<MemoryBudget>(10);
  auto lease = budget->Reserve(5);
  ASSERT_TRUE(lease.ok());
  budget.reset();
  EXPECT_TRUE(lease->Resize(10).ok());
  EXPECT_FALSE(lease->Resize(11).ok());
}

TEST(MemoryBudgetTest, ManyThreadsTogetherStayBelowTheLimit) {
  MemoryBudget budget(3);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 2000; ++round) {
        const auto lease = budget.Reserve(2);
        EXPECT_LE(budget.reserved(), 3);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(budget.reserved(), 0);
}

}  // namespace
}  // namespace torchd
