// Batches on real threads: who rides with whom, and who answers for whom.
#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/batching/executors.h"
#include "server/batching/refusal.h"
#include "tests/unit/batching/rows.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr milliseconds kAnsweredLate{1000};
#else
constexpr milliseconds kAnsweredLate{250};  // The figure is 10; a busy machine is not the point.
#endif

Executors::Options Threads(int threads) {
  Executors::Options options;
  options.threads = threads;
  return options;
}

LaneOptions UpTo8() {
  LaneOptions options;
  options.buckets = {1, 2, 4, 8};
  options.rows_waiting_max = 2000;
  return options;
}

// What a row came to.
struct Answer {
  std::vector<float> row;
  std::atomic<bool> cancelled{false};
  std::atomic<int> times_answered{0};
  absl::Status status;
  std::vector<float> scores;
  RunTimes times;
  Instant at;
};

const SteadyClock& RealClock() {
  static const SteadyClock clock;
  return clock;
}

std::unique_ptr<Request> Ask(
    Lane& lane, Answer& answer, const std::function<void()>& then = [] {}) {
  auto request = std::make_unique<Request>();
  request->lane = &lane;
  request->inputs = {FloatView(answer.row)};
  request->cancelled = &answer.cancelled;
  request->done = [&answer, then](const absl::Status& status,
                                  const std::vector<TensorView>& outputs, const RunTimes& times) {
    answer.at = RealClock().Now();
    answer.status = status;
    if (!outputs.empty()) answer.scores = Floats(outputs[0]);
    answer.times = times;
    ++answer.times_answered;
    then();
  };
  return request;
}

// Twice each number; "poison" where the first is negative. Counts the rows it sees, also padded.
struct Doubling {
  std::atomic<int> rows{0};
  FakeModel model{EchoSignature(1), [this](const RowInputs& row, std::vector<Tensor>& outputs) {
                    ++rows;
                    const float x = Floats(row[0])[0];
                    if (x < 0) return absl::InternalError("poison");
                    outputs.push_back(FloatTensor({1, 1}, {2 * x}));
                    return absl::OkStatus();
                  }};
};

// Executors, each of them held until the gate opens.
class GatedExecutors {
 public:
  explicit GatedExecutors(const Clock& clock, int threads = 1, int held = 1)
      : reached_(held), executors_(std::make_unique<Executors>(Threads(threads), clock)) {
    for (int i = 0; i < held; ++i) {
      EXPECT_TRUE(executors_->Submit(Ask(lane_, blockers_.emplace_back())).ok());
    }
    reached_.Wait();
  }
  ~GatedExecutors() { Finish(); }

  Executors* operator->() { return executors_.get(); }
  void Open() {
    if (!open_.HasBeenNotified()) open_.Notify();
  }
  // Until all is answered.
  void Finish() {
    Open();
    executors_ = nullptr;
  }

 private:
  absl::BlockingCounter reached_;
  absl::Notification open_;
  std::deque<Answer> blockers_;
  FakeModel model_{EchoSignature(0), [this](const RowInputs& row, std::vector<Tensor>& outputs) {
                     reached_.DecrementCount();
                     open_.WaitForNotification();
                     return FakeModel::Echo(row, outputs);
                   }};
  Lane lane_{model_, {}};
  std::unique_ptr<Executors> executors_;
};

TEST(ExecutorsBatchesTest, RowsThatWaitRideTogetherAndEachHasItsOwnAnswer) {
  Doubling doubling;
  Lane lane(doubling.model, UpTo8());
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
    Lane lane(doubling.model, UpTo8());
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
  Lane lane(model, UpTo8());
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
  Lane lane(doubling.model, UpTo8());
  std::vector<Answer> answers(1000);
  std::vector<Instant> deadlines;
  absl::BlockingCounter unanswered(1000);
  GatedExecutors executors(RealClock());
  for (size_t i = 0; i < answers.size(); ++i) {
    answers[i].row = {1};
    auto request = Ask(lane, answers[i], [&] { unanswered.DecrementCount(); });
    request->deadline = RealClock().Now() + milliseconds(i % 2 == 0 ? 400 : 800);
    deadlines.push_back(request->deadline);
    ASSERT_TRUE(executors->Submit(std::move(request)).ok());
  }
  unanswered.Wait();  // The gate is still closed.
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(answers[i].status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ(RefusalIn(answers[i].status), Refusal::kDeadline);
    EXPECT_GE(answers[i].at, deadlines[i]);
    EXPECT_LE(answers[i].at - deadlines[i], kAnsweredLate) << i;
  }
  executors.Finish();
  EXPECT_EQ(doubling.model.runs, 0);
}

// Whoever answers the expired sleeps while nothing waits: the next row must wake it.
TEST(ExecutorsBatchesTest, EachRowThatWaitsAloneIsAnsweredAtItsDeadline) {
  ManualClock clock;
  Doubling doubling;
  Lane lane(doubling.model, UpTo8());
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
  LaneOptions options = UpTo8();
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
  LaneOptions options = UpTo8();
  options.rows_waiting_max = 64;
  options.executors_max = 2;
  Lane first(doubling.model, options);
  options.executors_max = 0;
  options.delay_max = std::chrono::microseconds(200);
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
