// Calls that come too many or too late.
#include <string>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/classify/check.h"
#include "server/classify/classifier.h"
#include "tests/unit/classify/classifier_fixture.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;

using ClassifierOverloadTest = ClassifierTest;

TEST_F(ClassifierOverloadTest, FullQueueRefusesTheItemsThatDoNotFit) {
  ClassifyAnswer got;
  absl::Notification done;
  WhileBusy([&] {
    classifier_.Start(Call("echo", {good_, good_, good_}), [&](ClassifyAnswer answer) {
      got = std::move(answer);
      done.Notify();
    });
  });
  done.WaitForNotification();
  ASSERT_EQ(got.items.size(), 3u);
  EXPECT_TRUE(got.items[0].status.ok());
  EXPECT_TRUE(got.items[1].status.ok());
  EXPECT_EQ(got.items[2].status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(metrics_.refused(Refusal::kQueueFull).value(), 1u);
}

TEST_F(ClassifierOverloadTest, FullPreprocessingQueueRefusesTheItemsThatDoNotFit) {
  ClassifyAnswer got;
  absl::Notification done;
  WhileBusy([&] {
    classifier_.Start(Call("text", {TextItem{"a"}, TextItem{"b"}, TextItem{"c"}}),
                      [&](ClassifyAnswer answer) {
                        got = std::move(answer);
                        done.Notify();
                      });
  });
  done.WaitForNotification();
  ASSERT_EQ(got.items.size(), 3u);
  EXPECT_TRUE(got.items[0].status.ok());
  EXPECT_EQ(got.items[2].status.code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ClassifierOverloadTest, TextThatWouldBeTooLateIsNotPrepared) {
  const auto text = registry_.Lookup("text", {});
  (*text)->lane->costs.Add({}, 1, milliseconds(50));
  ClassifyAnswer got;
  WhileBusy([&] {
    ClassifyCall call = Call("text", {TextItem{"cat"}});
    call.deadline = clock_.Now() + milliseconds(40);
    got = Classify(std::move(call));  // At once: nothing moves meanwhile.
  });
  EXPECT_EQ(got.status.code(), absl::StatusCode::kResourceExhausted) << got.status;
  EXPECT_EQ(metrics_.refused(Refusal::kTooLate).value(), 1u);
}

TEST_F(ClassifierOverloadTest, PreparedTensorsCountInTheMemoryOfACall) {
  const auto text = registry_.Lookup("text", {});
  const int64_t ids = (*text)->config.text->tokens_max * int64_t{8};
  EXPECT_EQ(PreparedBytes({TextItem{"cat"}, TextItem{"cat"}}, **text), 2 * ids);
  EXPECT_EQ(PreparedBytes({good_}, **text), 0);
  Classifier small({registry_, executors_, preparers_, metrics_, clock_, ids + 100});
  absl::Notification done;
  ClassifyAnswer refused;
  WhileBusy([&] {
    const auto call = [&](uint64_t client) {
      ClassifyCall made = Call("text", {TextItem{"cat"}});
      made.bytes = 60;
      made.client = client;
      return made;
    };
    small.Start(call(1), [&](const ClassifyAnswer& answer) {
      EXPECT_TRUE(answer.status.ok()) << answer.status;
      done.Notify();
    });
    small.Start(call(2), [&](ClassifyAnswer answer) { refused = std::move(answer); });
  });
  done.WaitForNotification();
  EXPECT_EQ(refused.status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(metrics_.refused(Refusal::kMemory).value(), 1u);
  while (keeps_.use_count() > 1) std::this_thread::yield();
}

TEST_F(ClassifierOverloadTest, PassedDeadlineNeverReachesTheModel) {
  for (const ClassifyItem& item : {good_, ClassifyItem(TextItem{"cat"})}) {
    const bool tensors = std::holds_alternative<TensorItem>(item);
    ClassifyCall call = Call(tensors ? "echo" : "text", {item});
    call.deadline = clock_.Now();
    EXPECT_EQ(Classify(std::move(call)).status.code(), absl::StatusCode::kDeadlineExceeded);
  }
  EXPECT_EQ(executors_.rows_run(), 0);
  EXPECT_GE(metrics_.refused(Refusal::kDeadline).value(), 1u);
}

TEST_F(ClassifierOverloadTest, TimeoutIsAnsweredWhileTheModelStillRuns) {
  absl::Notification answered;
  on_run_ = [&] {
    clock_.Advance(milliseconds(20));
    answered.WaitForNotification();  // Until then what it reads must be there.
  };
  auto keeps = std::make_shared<int>();
  ClassifyCall call = Call("echo", {good_});
  call.answer_by = clock_.Now() + milliseconds(20);
  call.keeps = keeps;
  const std::weak_ptr<int> held = keeps;
  keeps.reset();
  int answers = 0;
  classifier_.Start(std::move(call), [&](const ClassifyAnswer& answer) {
    ++answers;
    EXPECT_EQ(answer.status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ(std::string(answer.status.message()), "no answer within the timeout of 20 ms");
    EXPECT_FALSE(held.expired());
    answered.Notify();
  });
  answered.WaitForNotification();
  executors_.RunOnEach([] {});  // After the run.
  EXPECT_EQ(answers, 1);
  while (!held.expired()) std::this_thread::yield();  // The alarms' thread may let go last.
  const auto echo = registry_.Lookup("echo", {});
  EXPECT_EQ((*echo)->metrics.items(absl::StatusCode::kDeadlineExceeded).value(), 1u);
  EXPECT_EQ((*echo)->metrics.items(absl::StatusCode::kOk).value(), 0u);
}

TEST_F(ClassifierOverloadTest, TimeoutKeepsTheItemsThatAreReady) {
  absl::Notification answered;
  int runs = 0;
  on_run_ = [&] {
    if (++runs != 2) return;
    clock_.Advance(milliseconds(20));
    answered.WaitForNotification();
  };
  ClassifyCall call = Call("echo", {good_, good_, bad_});
  call.answer_by = clock_.Now() + milliseconds(20);
  ClassifyAnswer got;
  classifier_.Start(std::move(call), [&](ClassifyAnswer answer) {
    got = std::move(answer);
    answered.Notify();
  });
  answered.WaitForNotification();
  ASSERT_TRUE(got.status.ok()) << got.status;
  ASSERT_EQ(got.items.size(), 3u);
  EXPECT_TRUE(got.items[0].status.ok());
  EXPECT_EQ(got.items[0].classes.size(), 3u);
  EXPECT_EQ(std::string(got.items[1].status.message()), "no answer within the timeout of 20 ms");
  EXPECT_EQ(got.items[1].times.total, milliseconds(20));
  EXPECT_EQ(got.items[2].status.code(), absl::StatusCode::kInvalidArgument);
  executors_.RunOnEach([] {});  // After the run.
  EXPECT_EQ(got.servable->metrics.items(absl::StatusCode::kOk).value(), 1u);
  EXPECT_EQ(got.servable->metrics.items(absl::StatusCode::kDeadlineExceeded).value(), 1u);
}

TEST_F(ClassifierOverloadTest, EachItemIsAnsweredOnceWhoeverIsFirst) {
  on_run_ = [&] { clock_.Advance(std::chrono::microseconds(1)); };
  for (int round = 0; round < 200; ++round) {
    ClassifyCall call = Call("echo", {good_, good_});
    call.answer_by = clock_.Now() + std::chrono::microseconds(1 + round % 2);
    const ClassifyAnswer answer = Classify(std::move(call));
    ASSERT_EQ(answer.items.size(), 2u);
    for (const ItemAnswer& item : answer.items) {
      EXPECT_EQ(item.classes.size(), item.status.ok() ? 3u : 0u) << item.status;
    }
  }
}

TEST_F(ClassifierOverloadTest, AnswerInTimeCallsTheAlarmOff) {
  ClassifyCall call = Call("echo", {good_});
  call.answer_by = clock_.Now() + milliseconds(1);
  EXPECT_TRUE(Classify(std::move(call)).status.ok());
}

TEST_F(ClassifierOverloadTest, CancelledCallNeverReachesTheModel) {
  const std::atomic<bool> gone{true};
  for (const ClassifyItem& item : {good_, ClassifyItem(TextItem{"cat"})}) {
    const bool tensors = std::holds_alternative<TensorItem>(item);
    ClassifyCall call = Call(tensors ? "echo" : "text", {item});
    call.cancelled = &gone;
    EXPECT_EQ(Classify(std::move(call)).status.code(), absl::StatusCode::kCancelled);
  }
  EXPECT_EQ(executors_.rows_run(), 0);
}

}  // namespace
}  // namespace torchd
