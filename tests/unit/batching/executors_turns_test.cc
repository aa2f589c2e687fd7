// What runs beside rows again and again: RunInTurns().
#include <algorithm>
#include <deque>
#include <set>
#include <string>
#include <thread>

#include "absl/synchronization/barrier.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "tests/unit/batching/executors_fixture.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;

const auto kOn = [] { return true; };

TEST(ExecutorsTurnsTest, RunsOnAsManyExecutorsAsAskedUntilItSaysFalse) {
  ManualClock clock;
  Executors executors(Threads(3), clock);
  absl::Mutex mutex;
  std::set<std::thread::id> threads;
  int runs = 0;
  const auto task = [&] {
    absl::MutexLock lock(&mutex);
    threads.insert(std::this_thread::get_id());
    return ++runs < 20;
  };
  EXPECT_EQ(executors.RunInTurns(2, task, kOn), 0);
  EXPECT_GE(runs, 20);
  EXPECT_LE(runs, 21);  // The other was told as well.
  EXPECT_LE(threads.size(), 2u);
  EXPECT_EQ(threads.count(std::this_thread::get_id()), 0u);
}

TEST(ExecutorsTurnsTest, RunsOfTheExecutorsOverlap) {
  ManualClock clock;
  Executors executors(Threads(3), clock);
  absl::Barrier all(3);
  executors.RunInTurns(
      3,
      [&] {
        all.Block();  // Would wait forever, were there fewer at once.
        return false;
      },
      kOn);
}

// A task that takes 10 ms of the test's clock, and rows that take as long.
struct Turns {
  // What ran: 'T' for the task, 'R' for a row.
  std::string Order() {
    absl::MutexLock lock(&mutex);
    return order;
  }
  void Note(char what) {
    absl::MutexLock lock(&mutex);
    order += what;
    clock.Advance(milliseconds(10));
  }

  ManualClock clock;
  absl::Mutex mutex;
  std::string order;
  FakeModel model{EchoSignature(1), [this](const RowInputs& row, std::vector<Tensor>& outputs) {
                    Note('R');
                    return FakeModel::Echo(row, outputs);
                  }};
  Lane lane{model, {}};
  std::deque<Answer> answers;
  Executors executors{Threads(1), clock};

  void Submit() {
    answers.emplace_back().row = {1};
    ASSERT_TRUE(executors.Submit(Ask(lane, answers.back())).ok());
  }
};

TEST(ExecutorsTurnsTest, RowsThatCameDuringARunGoBeforeTheNextWithinTheirShare) {
  Turns turns;
  int runs = 0;
  const int64_t went_first = turns.executors.RunInTurns(
      1,
      [&] {
        if (++runs == 1) {
          for (int i = 0; i < 6; ++i) turns.Submit();
        }
        turns.Note('T');
        return runs < 4;
      },
      kOn);
  EXPECT_EQ(turns.Order(), "TRRRRTRRTT");  // kRowsShare of them, then the rest.
  EXPECT_EQ(went_first, 6);
}

TEST(ExecutorsTurnsTest, WithoutRowsItRunsOnAtOnce) {
  Turns turns;
  int runs = 0;
  turns.executors.RunInTurns(
      1,
      [&] {
        turns.Note('T');
        return ++runs < 5;
      },
      kOn);
  EXPECT_EQ(turns.Order(), "TTTTT");
}

TEST(ExecutorsTurnsTest, EndsWhileItStillWaitsForAnExecutor) {
  ManualClock clock;
  GatedExecutors executors(clock);  // Its only one is held.
  int asked = 0;
  int runs = 0;
  executors->RunInTurns(
      1,
      [&] {
        ++runs;
        return true;
      },
      [&] { return ++asked < 3; });
  EXPECT_EQ(runs, 0);
  executors.Finish();
  EXPECT_EQ(runs, 0);
}

TEST(ExecutorsTurnsTest, EndsWithTheRunUnderWay) {
  ManualClock clock;
  Executors executors(Threads(1), clock);
  std::atomic<int> runs{0};
  std::atomic<bool> off{false};
  std::atomic<bool> returned{false};
  executors.RunInTurns(
      1,
      [&] {
        ++runs;
        while (!off) std::this_thread::yield();
        // Whoever called looks whether it may return meanwhile.
        const Instant end = RealClock().Now() + milliseconds(20);
        while (RealClock().Now() < end) std::this_thread::yield();
        EXPECT_FALSE(returned);
        return true;
      },
      [&] {
        if (runs > 0) off = true;
        return !off;
      });
  returned = true;
  const int until_then = runs;
  executors.RunOnEach([] {});
  EXPECT_EQ(runs, until_then);
}

// Once it hung: nobody woke the caller when the executor it did wait for was done.
TEST(ExecutorsTurnsTest, RunOnEachWaitsForThoseThatHaveBegunAndNoOthers) {
  ManualClock clock;
  GatedExecutors executors(clock, 2, 1);
  const Instant end = RealClock().Now() + milliseconds(60);  // Well beyond the call's wait.
  EXPECT_EQ(executors->RunOnEach(
                [&] {
                  while (RealClock().Now() < end) std::this_thread::yield();
                },
                milliseconds(20)),
            1);
}

}  // namespace
}  // namespace torchd
