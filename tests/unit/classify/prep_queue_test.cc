#include "server/classify/prep_queue.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/batching/refusal.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

constexpr auto kNoTime = [](int) { return Duration(0); };

class PrepQueueTest : public ::testing::Test {
 protected:
  PrepTask Task(uint64_t client, Duration time_left, const std::string& name) {
    PrepTask task;
    task.model = "photos";
    task.client = client;
    task.deadline = time_left == Duration::max() ? kNever : now() + time_left;
    task.prepare = [this, name] {
      prepared_.push_back(name);
      return Duration(0);
    };
    return task;
  }
  Instant now() const { return clock_.Now(); }

  static absl::Status Push(PrepQueue& queue, PrepTask task, Instant now) {
    return queue.Push(std::move(task), now, {0, kNoTime});
  }

  // What the queue knows of "photos" from now on.
  void Learn(PrepQueue& queue, Duration takes) {
    ASSERT_TRUE(Push(queue, Task(0, Duration::max(), "first"), now()).ok());
    queue.Finished(queue.Pop(now())->key, takes);
    prepared_.clear();
  }

  // Prepares one after the other, as a single thread would.
  std::vector<std::string> PrepareAll(PrepQueue& queue, Duration each = Duration(0)) {
    while (auto begun = queue.Pop(now())) {
      begun->task.prepare();
      clock_.Advance(each);
      queue.Finished(begun->key, each);
    }
    return prepared_;
  }

  ManualClock clock_;
  std::vector<std::string> prepared_;
};

TEST_F(PrepQueueTest, OfOneClientTheEarliestDeadlineGoesFirst) {
  PrepQueue queue({.threads = 1, .tasks_waiting_max = 16});
  ASSERT_TRUE(Push(queue, Task(1, milliseconds(900), "late"), now()).ok());
  ASSERT_TRUE(Push(queue, Task(1, Duration::max(), "some day"), now()).ok());
  ASSERT_TRUE(Push(queue, Task(1, milliseconds(100), "soon"), now()).ok());
  EXPECT_THAT(PrepareAll(queue), ElementsAre("soon", "some day", "late"));
}

TEST_F(PrepQueueTest, HigherPriorityGoesFirstUntilAnotherHasWaited) {
  PrepQueue queue({.threads = 1, .tasks_waiting_max = 16});
  PrepTask low = Task(1, milliseconds(9000), "low");
  low.priority = Priority::kLow;
  ASSERT_TRUE(Push(queue, std::move(low), now()).ok());
  const auto push_high = [&](const char* name) {
    PrepTask high = Task(1, milliseconds(60'000), name);
    high.priority = Priority::kHigh;
    return Push(queue, std::move(high), now()).ok();
  };
  ASSERT_TRUE(push_high("high"));
  auto first = queue.Pop(now());
  first->task.prepare();
  queue.Finished(first->key, Duration(0));
  clock_.Advance(milliseconds(2001));  // Two levels.
  ASSERT_TRUE(push_high("newer"));
  EXPECT_THAT(PrepareAll(queue), ElementsAre("high", "low", "newer"));
}

// One client's flood used to be prepared before all others, for it came first.
TEST_F(PrepQueueTest, ClientsTakeTurns) {
  PrepQueue queue({.threads = 1, .tasks_waiting_max = 16});
  for (const char* name : {"a1", "a2", "a3"}) {
    ASSERT_TRUE(Push(queue, Task(1, milliseconds(100), name), now()).ok());
  }
  for (const char* name : {"b1", "b2"}) {
    ASSERT_TRUE(Push(queue, Task(2, milliseconds(500), name), now()).ok());
  }
  EXPECT_THAT(PrepareAll(queue), ElementsAre("a1", "b1", "a2", "b2", "a3"));
}

// A client whose only waiting task is being prepared must not be a newcomer again with the next.
TEST_F(PrepQueueTest, TurnIsRememberedWhileATaskIsPrepared) {
  PrepQueue queue({.threads = 2, .tasks_waiting_max = 16});
  ASSERT_TRUE(Push(queue, Task(2, milliseconds(100), "b1"), now()).ok());
  const auto b1 = queue.Pop(now());
  ASSERT_TRUE(Push(queue, Task(1, milliseconds(500), "a1"), now()).ok());
  ASSERT_TRUE(Push(queue, Task(2, milliseconds(100), "b2"), now()).ok());
  const auto next = queue.Pop(now());
  EXPECT_EQ(next->task.client, 1u);
}

// Who sends one after the other is new each time; so others would never have a turn.
TEST_F(PrepQueueTest, ThoseInAClosedLoopTakeTurnsWithTheSteady) {
  PrepQueue queue({.threads = 1, .tasks_waiting_max = 64});
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(Push(queue, Task(1, milliseconds(100), "steady"), now()).ok());
  }
  for (const uint64_t loop : {2, 3}) {
    ASSERT_TRUE(Push(queue, Task(loop, milliseconds(500), "loop"), now()).ok());
  }
  std::map<uint64_t, int> prepared;
  for (int i = 0; i < 30; ++i) {
    const auto begun = queue.Pop(now());
    const uint64_t client = begun->task.client;
    ++prepared[client];
    queue.Finished(begun->key, Duration(0));
    if (client != 1) {
      ASSERT_TRUE(Push(queue, Task(client, milliseconds(500), "loop"), now()).ok());
    }
  }
  EXPECT_GE(prepared[1], 9);
  EXPECT_LE(prepared[1], 11);
}

TEST_F(PrepQueueTest, ClientLeavesSomethingToOthers) {
  PrepQueue queue({.threads = 1, .tasks_waiting_max = 90});
  const auto fill = [&](uint64_t client) {
    int taken = 0;
    while (taken < 100 && Push(queue, Task(client, Duration::max(), "x"), now()).ok()) ++taken;
    return taken;
  };
  EXPECT_EQ(fill(1), 80);
  EXPECT_EQ(fill(2), 8);
  EXPECT_EQ(fill(3), 1);
  EXPECT_EQ(fill(4), 1);  // One fits as long as there is room at all.
  const absl::Status full = Push(queue, Task(5, Duration::max(), "x"), now());
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RefusalIn(full), Refusal::kQueueFull);
  EXPECT_TRUE(RetryAfter(full).has_value());
}

TEST_F(PrepQueueTest, WhatWouldBeLateBehindTheOthersIsRefused) {
  PrepQueue queue({.threads = 2, .tasks_waiting_max = 16});
  Learn(queue, milliseconds(10));
  const auto push = [&](Duration time_left) { return Push(queue, Task(1, time_left, "x"), now()); };
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(push(milliseconds(30)).ok()) << i;
  const absl::Status refused = push(milliseconds(30));  // 5 before it on 2 threads, and itself.
  EXPECT_EQ(RefusalIn(refused), Refusal::kTooLate);
  EXPECT_EQ(RetryAfter(refused), milliseconds(5));
  EXPECT_TRUE(push(milliseconds(29)).ok()) << "it goes before them";
  EXPECT_TRUE(push(milliseconds(100)).ok()) << "it has the time";
}

TEST_F(PrepQueueTest, IdleThreadTakesWhatComesWhateverWasMeasured) {
  PrepQueue queue({.threads = 1, .tasks_waiting_max = 16});
  Learn(queue, std::chrono::seconds(5));
  EXPECT_TRUE(Push(queue, Task(1, milliseconds(100), "x"), now()).ok());
  EXPECT_EQ(RefusalIn(Push(queue, Task(1, milliseconds(100), "y"), now())), Refusal::kTooLate);
}

TEST_F(PrepQueueTest, RowsBeingPreparedCountInTheQueueOfTheirModel) {
  PrepQueue queue({.threads = 1, .tasks_waiting_max = 16});
  Learn(queue, milliseconds(1));
  const auto run_time = [](int rows) { return rows * milliseconds(20); };
  const auto push = [&](const std::string& model, int rows_waiting) {
    PrepTask task = Task(1, milliseconds(100), "x");
    task.model = model;
    return queue.Push(std::move(task), now(), {rows_waiting, run_time});
  };
  EXPECT_TRUE(push("photos", 4).ok());                         // 5 rows: 100 ms.
  EXPECT_EQ(RefusalIn(push("photos", 4)), Refusal::kTooLate);  // The sixth.
  EXPECT_TRUE(push("photos", 3).ok());
  EXPECT_TRUE(push("texts", 4).ok()) << "photos run in another queue";
}

TEST_F(PrepQueueTest, PolitePaysForOneOfTheFloodNotForAll) {
  PrepQueue queue({.threads = 1, .tasks_waiting_max = 64});
  Learn(queue, milliseconds(10));
  while (Push(queue, Task(1, milliseconds(300), "flood"), now()).ok()) {
  }
  EXPECT_GE(queue.waiting(), 29);
  EXPECT_TRUE(Push(queue, Task(2, milliseconds(25), "polite"), now()).ok());
}

TEST_F(PrepQueueTest, WhatIsTooLateOrCancelledGoesFirstForItCostsNothing) {
  PrepQueue queue({.threads = 1, .tasks_waiting_max = 16});
  const std::atomic<bool> gone{true};
  ASSERT_TRUE(Push(queue, Task(1, milliseconds(500), "good"), now()).ok());
  ASSERT_TRUE(Push(queue, Task(1, milliseconds(5), "expired"), now()).ok());
  PrepTask cancelled = Task(2, milliseconds(900), "cancelled");
  cancelled.cancelled = &gone;
  ASSERT_TRUE(Push(queue, std::move(cancelled), now()).ok());
  clock_.Advance(milliseconds(5));
  EXPECT_THAT(PrepareAll(queue), ElementsAre("expired", "cancelled", "good"));
  EXPECT_EQ(Push(queue, Task(1, Duration(0), "x"), now()).code(),
            absl::StatusCode::kDeadlineExceeded);
}

// Ten times of what one thread can prepare. First come, first served: by the time a photo's turn
// came it was about to expire, and none was answered.
TEST_F(PrepQueueTest, UnderTenfoldLoadWhatIsPreparedIsInTime) {
  PrepQueue queue({.threads = 1, .tasks_waiting_max = 256});
  Learn(queue, milliseconds(10));
  int in_time = 0, late = 0;
  for (int step = 0; step < 500; ++step) {
    for (int i = 0; i < 10; ++i) {
      const Instant deadline = now() + milliseconds(200);
      PrepTask task = Task(1, milliseconds(200), "x");
      task.prepare = [&, deadline] {
        if (deadline <= now()) return Duration(0);
        ++(now() + milliseconds(10) <= deadline ? in_time : late);
        return Duration(milliseconds(10));
      };
      (void)Push(queue, std::move(task), now());
    }
    auto begun = queue.Pop(now());
    const Duration took = begun->task.prepare();
    clock_.Advance(milliseconds(10));
    queue.Finished(begun->key, took);
  }
  EXPECT_GE(in_time, 499);
  EXPECT_EQ(late, 0);
}

}  // namespace
}  // namespace torchd
