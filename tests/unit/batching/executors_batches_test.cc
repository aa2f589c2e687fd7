// Batches on real threads: who rides with whom, and who answers for whom.
#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/batching/refusal.h"
#include "tests/unit/batching/executors_fixture.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr milliseconds kAnsweredLate{1000}, kMedianLate{100};
#else
constexpr milliseconds kAnsweredLate{500}, kMedianLate{50};  // A busy machine is not the point.
#endif

TEST(ExecutorsBatchesTest, RowsThatWaitRideTogetherAndEachHasItsOwnAnswer) {
  Doubling doubling;
  Lane lane(doubling.model, UpTo8Of2000());
  std::array<Answer, 5> answers;
  GatedExecutors executors(RealClock());
  for (size_t i = 0; i < answers.size(); ++i) {
    answers[i].row = {static_cast<float>(i + 1)};
    ASSERT_TRUE(executors->Submit(Ask(lane, answers[i])).ok());
  }
  executors.Finish();
  EXPECT_EQ(doubling.model.runs, 1);
  EXPECT_EQ(doubling.rows, 8);  // Padded.
  int leaders = 0;
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_TRUE(answers[i].status.ok()) << answers[i].status;
    EXPECT_EQ(answers[i].times_answered, 1);
    EXPECT_THAT(answers[i].scores, ElementsAre(2 * static_cast<float>(i + 1)));
    EXPECT_EQ(answers[i].times.batch_rows, 5);
    leaders += answers[i].times.leads ? 1 : 0;
  }
  EXPECT_EQ(leaders, 1);
}

TEST(ExecutorsBatchesTest, OnlyThePoisonedRowFails) {
  for (size_t guilty = 0; guilty < 8; ++guilty) {
    Doubling doubling;
    Lane lane(doubling.model, UpTo8Of2000());
    std::array<Answer, 8> answers;
    GatedExecutors executors(RealClock());
    for (size_t i = 0; i < answers.size(); ++i) {
      answers[i].row = {i == guilty ? -1.0F : static_cast<float>(i + 1)};
      ASSERT_TRUE(executors->Submit(Ask(lane, answers[i])).ok());
    }
    executors.Finish();
    for (size_t i = 0; i < answers.size(); ++i) {
      EXPECT_EQ(answers[i].times_answered, 1) << i;
      if (i == guilty) {
        EXPECT_EQ(answers[i].status, absl::InternalError("poison"));
        continue;
      }
      EXPECT_TRUE(answers[i].status.ok()) << i << " beside " << guilty << answers[i].status;
      EXPECT_THAT(answers[i].scores, ElementsAre(2 * static_cast<float>(i + 1)));
      EXPECT_EQ(answers[i].times.reason, Dispatch::kRetry);
    }
    EXPECT_EQ(doubling.model.runs, 9);
  }
}

// Who hung up while the failed run went on gets no run of its own.
TEST(ExecutorsBatchesTest, TheCancelledAreNotRunOneByOne) {
  std::array<Answer, 8> answers;
  Doubling doubling;
  FakeModel model(EchoSignature(1), [&](const RowInputs& row, std::vector<Tensor>& outputs) {
    answers[3].cancelled = true;
    const RowInputs* const one = &row;
    return doubling.model.Run({&one, 1}, outputs);
  });
  Lane lane(model, UpTo8Of2000());
  GatedExecutors executors(RealClock());
  for (size_t i = 0; i < answers.size(); ++i) {
    answers[i].row = {i == 0 ? -1.0F : 1.0F};
    ASSERT_TRUE(executors->Submit(Ask(lane, answers[i])).ok());
  }
  executors.Finish();
  EXPECT_EQ(answers[3].status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(model.runs, 8);
}

TEST(ExecutorsBatchesTest, DeadlinesAreKeptThoughTheExecutorIsBlocked) {
  Doubling doubling;
  Lane lane(doubling.model, UpTo8Of2000());
  std::vector<Answer> answers(1000);
  std::vector<Instant> deadlines;
  absl::BlockingCounter unanswered(1000);
  GatedExecutors executors(RealClock());
  for (size_t i = 0; i < answers.size(); ++i) {
    answers[i].row = {1};
    auto request = Ask(lane, answers[i], [&] { unanswered.DecrementCount(); });
    request->deadline = RealClock().Now() + milliseconds(50);
    deadlines.push_back(request->deadline);
    ASSERT_TRUE(executors->Submit(std::move(request)).ok());
  }
  unanswered.Wait();  // The gate is still closed.
  std::vector<Duration> late;
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(answers[i].status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ(RefusalIn(answers[i].status), Refusal::kDeadline);
    EXPECT_GE(answers[i].at, deadlines[i]);
    late.push_back(answers[i].at - deadlines[i]);
  }
  std::sort(late.begin(), late.end());
  EXPECT_LE(late[late.size() / 2], kMedianLate);
  EXPECT_LE(late.back(), kAnsweredLate);
  executors.Finish();
  EXPECT_EQ(doubling.model.runs, 0);
}

// The run that goes on must not wait for their answers.
TEST(ExecutorsBatchesTest, WhatIsHopelessIsAnsweredOnAnotherThread) {
  ManualClock clock;
  std::thread::id ran, answered;
  FakeModel model(EchoSignature(1), [&](const RowInputs& row, std::vector<Tensor>& outputs) {
    ran = std::this_thread::get_id();
    return FakeModel::Echo(row, outputs);
  });
  Lane lane(model, UpTo8Of2000());
  Measure(lane.costs, {}, {{1, milliseconds(10)}, {8, milliseconds(10)}});
  Answer hopeless, patient;
  absl::Notification hopeless_answered, patient_answered;
  hopeless.row = patient.row = {1};
  GatedExecutors executors(clock);
  auto request = Ask(lane, hopeless, [&] {
    answered = std::this_thread::get_id();
    hopeless_answered.Notify();
  });
  request->deadline = clock.Now() + std::chrono::seconds(100);
  ASSERT_TRUE(executors->Submit(std::move(request)).ok());
  ASSERT_TRUE(executors->Submit(Ask(lane, patient, [&] { patient_answered.Notify(); })).ok());
  clock.Advance(std::chrono::seconds(100) - milliseconds(5));
  executors.Open();
  hopeless_answered.WaitForNotification();
  patient_answered.WaitForNotification();
  EXPECT_EQ(hopeless.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(patient.status.ok()) << patient.status;
  EXPECT_NE(ran, answered);
}

TEST(ExecutorsBatchesTest, WhatExpiredInAFailedRunWaitsForNoOther) {
  ManualClock clock;
  std::array<Answer, 8> answers;
  absl::Notification answered;
  FakeModel model(EchoSignature(1), [&](const RowInputs& row, std::vector<Tensor>& outputs) {
    if (Floats(row[0])[0] < 0) {
      clock.Advance(milliseconds(10));
      return absl::InternalError("poison");
    }
    EXPECT_TRUE(answered.WaitForNotificationWithTimeout(absl::Seconds(20)));
    return FakeModel::Echo(row, outputs);
  });
  Lane lane(model, UpTo8Of2000());
  GatedExecutors executors(clock);
  for (size_t i = 0; i < answers.size(); ++i) {
    answers[i].row = {i == 0 ? -1.0F : 1.0F};
    auto request = Ask(lane, answers[i], [&, i] {
      if (i == 7) answered.Notify();
    });
    if (i == 7) request->deadline = clock.Now() + milliseconds(5);
    ASSERT_TRUE(executors->Submit(std::move(request)).ok());
  }
  executors.Finish();
  EXPECT_EQ(answers[7].status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(answers[7].times_answered, 1);
  EXPECT_TRUE(answers[1].status.ok()) << answers[1].status;
}

// A model that warms up takes half of the time of the others, no more.
TEST(ExecutorsBatchesTest, RowsThatWaitHaveTheirTimeBetweenTasks) {
  ManualClock clock;
  Doubling doubling;
  FakeModel model(EchoSignature(1), [&](const RowInputs& row, std::vector<Tensor>& outputs) {
    clock.Advance(milliseconds(2));
    const RowInputs* const one = &row;
    return doubling.model.Run({&one, 1}, outputs);
  });
  LaneOptions options = UpTo8Of2000();
  options.buckets = {1};
  Lane lane(model, options);
  std::vector<Answer> answers(100);
  std::vector<Instant> began;
  absl::Notification second_comes;
  GatedExecutors executors(clock);
  const auto task = [&] {
    began.push_back(clock.Now());
    second_comes.WaitForNotification();
    clock.Advance(milliseconds(10));
    if (began.size() > 1) return;
    for (Answer& answer : answers) {  // They wait when the task ends.
      answer.row = {1};
      EXPECT_TRUE(executors->Submit(Ask(lane, answer)).ok());
    }
  };
  std::thread first([&] { executors->RunOnEach(task); });
  std::thread second([&] {
    second_comes.Notify();
    executors->RunOnEach(task);
  });
  executors.Open();
  first.join();
  second.join();
  executors.Finish();
  ASSERT_EQ(began.size(), 2u);
  EXPECT_GE(began[1] - began[0], milliseconds(20));  // The task's own ten, and ten for rows.
}

// Whoever answers the expired sleeps while nothing waits: the next row must wake it.
TEST(ExecutorsBatchesTest, EachRowThatWaitsAloneIsAnsweredAtItsDeadline) {
  ManualClock clock;
  Doubling doubling;
  Lane lane(doubling.model, UpTo8Of2000());
  GatedExecutors executors(clock);
  Duration later = milliseconds(1);
  for (int round = 0; round < 10; ++round, later *= 3) {  // Longer than the gate has been closed.
    Answer answer;
    answer.row = {1};
    absl::Notification answered;
    auto request = Ask(lane, answer, [&] { answered.Notify(); });
    request->deadline = clock.Now() + later;
    ASSERT_TRUE(executors->Submit(std::move(request)).ok());
    clock.Advance(later);
    answered.WaitForNotification();
    EXPECT_EQ(answer.status.code(), absl::StatusCode::kDeadlineExceeded);
  }
}

TEST(ExecutorsBatchesTest, RunOnEachLeavesOutAnExecutorThatHangs) {
  GatedExecutors executors(RealClock(), 3, 1);
  std::atomic<int> ran{0};
  EXPECT_EQ(executors->RunOnEach([&] { ++ran; }, milliseconds(50)), 2);
  EXPECT_EQ(ran, 2);
  executors.Open();
  EXPECT_EQ(executors->RunOnEach([&] { ran += 10; }), 3);
  EXPECT_EQ(ran, 32);  // The first task was forgotten.
}

// It has hung for longer already: waiting for it anew would help nobody.
TEST(ExecutorsBatchesTest, RunOnEachDoesNotWaitForOneThatHasHungForLong) {
  ManualClock clock;
  GatedExecutors executors(clock, 2, 1);
  clock.Advance(std::chrono::hours(2));
  EXPECT_EQ(executors->RunOnEach([] {}, std::chrono::hours(1)), 1);
}

TEST(ExecutorsBatchesTest, ARowThatWaitsForCompanyRunsWithoutAnotherPush) {
  Doubling doubling;
  LaneOptions options = UpTo8Of2000();
  options.delay_max = milliseconds(20);
  Lane lane(doubling.model, options);
  Measure(lane.costs, {}, {{1, milliseconds(5)}, {8, milliseconds(5)}});
  Answer answer;
  answer.row = {1};
  absl::Notification answered;
  Executors executors(Threads(2), RealClock());
  ASSERT_TRUE(executors.Submit(Ask(lane, answer, [&] { answered.Notify(); })).ok());
  answered.WaitForNotification();
  EXPECT_EQ(answer.times.reason, Dispatch::kDelay);
  EXPECT_GE(answer.times.started - answer.times.admitted, milliseconds(20));
}

// Whatever comes and goes, each row is refused, or answered once.
TEST(ExecutorsBatchesTest, EveryRowIsAnsweredOnceWhateverEightThreadsDo) {
  constexpr size_t kThreads = 8, kRows = 1000;
  Doubling doubling;
  LaneOptions options = UpTo8Of2000();
  options.rows_waiting_max = 64;
  options.executors_max = 2;
  Lane first(doubling.model, options);
  options.executors_max = 0;
  options.delay_max = std::chrono::microseconds(200);
  options.regroup_max = milliseconds(5);
  Lane second(doubling.model, options);
  std::vector<Answer> answers(kThreads * kRows);
  std::atomic<int> refused{0};
  {
    Executors executors(Threads(3), RealClock());
    const auto submit = [&](size_t self) {
      for (size_t i = 0; i < kRows; ++i) {
        Answer& answer = answers[self * kRows + i];
        answer.row = {i % 50 == 7 ? -1.0F : static_cast<float>(i)};
        auto request = Ask(i % 3 == 0 ? first : second, answer);
        request->client = self / 2;
        request->priority = static_cast<Priority>(i % kPriorities);
        if (i % 5 == 0) {
          request->deadline = RealClock().Now() + std::chrono::microseconds(100 * (i % 20));
        }
        const bool admitted = executors.Submit(std::move(request)).ok();
        EXPECT_EQ(admitted, request == nullptr);
        if (!admitted) ++refused;
        if (!admitted) ++answer.times_answered;
        if (i % 7 == 0) answer.cancelled = true;
      }
    };
    std::vector<std::thread> threads;
    for (size_t self = 0; self < kThreads; ++self) threads.emplace_back(submit, self);
    for (std::thread& thread : threads) thread.join();
  }
  for (const Answer& answer : answers) {
    EXPECT_EQ(answer.times_answered, 1);
    if (!answer.scores.empty()) {
      EXPECT_THAT(answer.scores, ElementsAre(2 * answer.row[0]));
    }
  }
  EXPECT_LT(refused, static_cast<int>(answers.size()));
}

}  // namespace
}  // namespace torchd
