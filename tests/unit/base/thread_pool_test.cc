#include "server/base/thread_pool.h"

#include <pthread.h>

#include <atomic>
#include <string>
#include <vector>

#include "absl/synchronization/barrier.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/clock.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;

TEST(ThreadPoolTest, RunsEveryTaskOnce) {
  std::atomic<int> sum{0};
  {
    ThreadPool pool("test", {.threads = 4, .tasks_waiting_max = 1000});
    for (int i = 1; i <= 1000; ++i) {
      ASSERT_TRUE(pool.Submit([&sum, i] { sum += i; }));
    }
  }
  EXPECT_EQ(sum, 500'500);
}

TEST(ThreadPoolTest, OneThreadRunsTasksInTheirOrder) {
  std::vector<int> order;
  {
    ThreadPool pool("test", {.threads = 1});
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(pool.Submit([&order, i] { order.push_back(i); }));
  }
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
}

TEST(ThreadPoolTest, RefusesWhatDoesNotFitAndTakesAgainLater) {
  absl::Notification busy, go, drained;
  std::atomic<bool> refused_ran{false};
  ThreadPool pool("test", {.threads = 1, .tasks_waiting_max = 2});
  ASSERT_TRUE(pool.Submit([&] {
    busy.Notify();
    go.WaitForNotification();
  }));
  busy.WaitForNotification();  // Running, so it waits no more.
  EXPECT_TRUE(pool.Submit([] {}));
  EXPECT_TRUE(pool.Submit([&] { drained.Notify(); }));
  EXPECT_FALSE(pool.Submit([&] { refused_ran = true; }));
  go.Notify();
  drained.WaitForNotification();
  absl::Notification again;
  EXPECT_TRUE(pool.Submit([&] { again.Notify(); }));
  again.WaitForNotification();
  EXPECT_FALSE(refused_ran);
}

TEST(ThreadPoolTest, DestructorRunsWhatWasAccepted) {
  absl::Notification busy;
  std::atomic<int> ran{0};
  {
    ThreadPool pool("test", {.threads = 1});
    ASSERT_TRUE(pool.Submit([&] { busy.Notify(); }));
    busy.WaitForNotification();
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(pool.Submit([&] { ++ran; }));
  }
  EXPECT_EQ(ran, 50);
}

// With fewer threads than asked for, the tasks would wait for each other for ever.
TEST(ThreadPoolTest, RunsAsManyTasksAtOnceAsItHasThreads) {
  auto* all = new absl::Barrier(3);  // Whoever leaves it last deletes it.
  ThreadPool pool("test", {.threads = 3});
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(pool.Submit([all] {
      if (all->Block()) delete all;
    }));
  }
}

TEST(ThreadPoolTest, ThreadsBearItsName) {
  std::string name(16, '\0');
  {
    ThreadPool pool("decode", {.threads = 1});
    ASSERT_TRUE(pool.Submit([&] { pthread_getname_np(pthread_self(), name.data(), name.size()); }));
  }
  EXPECT_STREQ(name.c_str(), "decode-0");
}

TEST(ManualClockTest, StandsStillUntilMoved) {
  ManualClock clock;
  const Instant start = clock.Now();
  EXPECT_EQ(clock.Now(), start);
  clock.Advance(std::chrono::milliseconds(3));
  EXPECT_EQ(clock.Now() - start, std::chrono::milliseconds(3));
  EXPECT_EQ(Microseconds(clock.Now() - start), 3000);
  EXPECT_DOUBLE_EQ(Seconds(clock.Now() - start), 0.003);
  EXPECT_LT(clock.Now(), kNever);
}

TEST(SteadyClockTest, NeverGoesBack) {
  SteadyClock clock;
  const Instant first = clock.Now();
  EXPECT_GE(clock.Now(), first);
}

}  // namespace
}  // namespace torchd
