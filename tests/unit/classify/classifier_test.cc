#include "server/classify/classifier.h"

#include <cmath>
#include <string>
#include <thread>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ModelSignature TextSignature() {
  return {{{"input_ids", DataType::kInt64, {-1}}}, {{"scores", DataType::kFloat32, {2}}}};
}

// Scores: how many ids, and 0.
absl::Status CountIds(const RowInputs& row, std::vector<Tensor>& outputs) {
  const auto ids = static_cast<float>(row.at(0).shape.at(0));
  outputs.push_back(FloatTensor({1, 2}, {ids, 0}));
  return absl::OkStatus();
}

// Real registry, executors and preparers around two fakes: "echo" gives its three floats back as
// scores, "text" counts its ids.
class ClassifierTest : public ::testing::Test {
 protected:
  ClassifierTest() {
    repository_.Write("echo/1/model.pt", "");
    repository_.Write("echo/labels.txt", "ant\nbee\ncat\n");
    repository_.Write("echo/model.yaml", "softmax: false\nversion_labels: {stable: 1}\n");
    repository_.Write("text/1/model.pt", "");
    repository_.Write("text/model.yaml", "text: {}\n");
    repository_.Write("text/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\n");
    repository_.Write("broken/1/model.pt", "");
    const auto snapshot = ScanRepository(repository_.path());
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    registry_.SetRepository(*snapshot);
    for (const char* name : {"echo", "text", "broken"}) {
      absl::Notification settled;
      registry_.WhenSettled(name, [&] { settled.Notify(); });
      settled.WaitForNotification();
    }
  }

  Registry::Parts RegistryParts() {
    Registry::Parts parts;
    parts.arrival.load = [this](const std::string& path, const ModelConfig& config) {
      return Load(path, config);
    };
    parts.arrival.warm_up = [](Model& model, const ModelConfig&) {
      LaneOptions lane;
      lane.rows_waiting_max = 2;
      return std::make_unique<Lane>(model, std::move(lane));
    };
    parts.on_change = [](const std::string&, bool) {};
    parts.metrics = &metrics_;
    parts.clock = &clock_;
    return parts;
  }

  absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path, const ModelConfig& config) {
    if (path.find("/broken/") != std::string::npos) return absl::InternalError("broken");
    if (config.text) return std::make_unique<FakeModel>(TextSignature(), CountIds);
    return std::make_unique<FakeModel>(EchoSignature(3),
                                       [this](const RowInputs& row, std::vector<Tensor>& outputs) {
                                         if (on_run_) on_run_();
                                         return FakeModel::Echo(row, outputs);
                                       });
  }

  ClassifyCall Call(absl::string_view model, std::vector<ClassifyItem> items) const {
    ClassifyCall call;
    call.model = model;
    call.items = std::move(items);
    call.arrival = clock_.Now();
    return call;
  }

  ClassifyAnswer Classify(ClassifyCall call) {
    ClassifyAnswer got;
    absl::Notification done;
    classifier_.Start(std::move(call), [&](ClassifyAnswer answer) {
      got = std::move(answer);
      done.Notify();
    });
    done.WaitForNotification();
    return got;
  }

  // Runs `body` while the one executor and the one preprocessing thread are busy.
  void WhileBusy(const std::function<void()>& body) {
    absl::Notification executor_busy, pool_busy, pool_free, go;
    std::thread warming([&] {
      executors_.RunOnEach([&] {
        executor_busy.Notify();
        go.WaitForNotification();
      });
    });
    PrepTask busy;
    busy.client = 99;
    busy.prepare = [&] {
      pool_busy.Notify();
      go.WaitForNotification();
      pool_free.Notify();  // Until here it looks at `go`.
      return Duration(0);
    };
    const auto no_time = [](int) { return Duration(0); };
    ASSERT_TRUE(preparers_.Submit(std::move(busy), {0, no_time}).ok());
    executor_busy.WaitForNotification();
    pool_busy.WaitForNotification();
    body();
    go.Notify();
    pool_free.WaitForNotification();
    warming.join();
  }

  const std::vector<float> row_ = {1, 3, 2};
  const std::vector<float> short_row_ = {1, 2};
  const ClassifyItem good_ = TensorItem{{"x", FloatView(row_)}};
  const ClassifyItem bad_ = TensorItem{{"x", FloatView(short_row_)}};
  TempFolder repository_;
  ManualClock clock_;
  ServerMetrics metrics_{{"0", "0"}};
  std::function<void()> on_run_;
  Registry registry_{RegistryParts()};
  Executors executors_{{.device = "cpu", .threads = 1}, clock_};
  Preparers preparers_{{.threads = 1, .tasks_waiting_max = 2}, clock_};
  Classifier classifier_{{registry_, executors_, preparers_, metrics_, clock_}};
};

TEST_F(ClassifierTest, AnswersClassesWithLabelsHighestFirst) {
  const ClassifyAnswer answer = Classify(Call("echo", {good_}));
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  EXPECT_EQ(answer.servable->name, "echo");
  ASSERT_EQ(answer.items.size(), 1u);
  const auto& classes = answer.items[0].classes;
  ASSERT_EQ(classes.size(), 3u);  // Fewer than the default top_k.
  EXPECT_EQ(classes[0].index, 1);
  EXPECT_EQ(std::string(classes[0].label), "bee");
  EXPECT_EQ(classes[0].probability, 3);  // The model's configuration says: no softmax.
  EXPECT_EQ(std::string(classes[2].label), "ant");
}

TEST_F(ClassifierTest, CallerChoosesTheVersionByLabel) {
  ClassifyCall call = Call("echo", {good_});
  call.version_label = "stable";
  const ClassifyAnswer stable = Classify(std::move(call));
  ASSERT_TRUE(stable.status.ok()) << stable.status;
  EXPECT_EQ(stable.servable->version, 1);
  call = Call("echo", {good_});
  call.version_label = "canary";
  EXPECT_EQ(Classify(std::move(call)).status.code(), absl::StatusCode::kNotFound);
}

TEST_F(ClassifierTest, CallerChoosesTopKAndSoftmax) {
  ClassifyCall call = Call("echo", {good_});
  call.top_k = 1;
  call.softmax = true;
  const ClassifyAnswer answer = Classify(std::move(call));
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  ASSERT_EQ(answer.items[0].classes.size(), 1u);
  EXPECT_NEAR(answer.items[0].classes[0].probability, 0.665241, 1e-5);
}

TEST_F(ClassifierTest, TextIsPreparedAndSoftmaxIsTheDefault) {
  const ClassifyAnswer answer = Classify(Call("text", {TextItem{"cat cat"}}));
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  ASSERT_EQ(answer.items[0].classes.size(), 2u);
  EXPECT_NEAR(answer.items[0].classes[0].probability, 0.982014, 1e-5);  // 4 ids against 0.
  EXPECT_EQ(std::string(answer.items[0].classes[0].label), "");
}

TEST_F(ClassifierTest, LoneBadItemFailsTheCall) {
  const ClassifyAnswer answer = Classify(Call("echo", {bad_}));
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(answer.status.message()), HasSubstr("got [2]"));
  EXPECT_NE(answer.servable, nullptr);
}

TEST_F(ClassifierTest, BadItemAmongOthersFailsAlone) {
  const ClassifyAnswer answer =
      Classify(Call("echo", {good_, bad_, absl::InvalidArgumentError("no input"), ImageItem{"x"},
                             TextItem{"x"}, good_}));
  ASSERT_TRUE(answer.status.ok()) << answer.status;
  ASSERT_EQ(answer.items.size(), 6u);
  for (const size_t good : {0u, 5u}) EXPECT_TRUE(answer.items[good].status.ok());
  for (const size_t bad : {1u, 2u, 3u, 4u}) {
    EXPECT_EQ(answer.items[bad].status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(answer.items[bad].classes, IsEmpty()) << bad;
  }
  EXPECT_EQ(std::string(answer.items[3].status.message()),
            "model 'echo' takes no image; it takes: tensor");
  const ModelMetrics& metrics = answer.servable->metrics;
  EXPECT_EQ(metrics.items(absl::StatusCode::kOk).value(), 2u);
  EXPECT_EQ(metrics.items(absl::StatusCode::kInvalidArgument).value(), 4u);
}

TEST_F(ClassifierTest, RefusedCallsAreCountedByReason) {
  EXPECT_EQ(Classify(Call("dog", {good_})).status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(metrics_.refused(Refusal::kUnknownModel).value(), 1u);
  const ClassifyAnswer broken = Classify(Call("broken", {good_}));
  EXPECT_EQ(broken.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(broken.servable, nullptr);
  EXPECT_EQ(metrics_.refused(Refusal::kNotReady).value(), 1u);
  EXPECT_EQ(Classify(Call("echo", {})).status.code(), absl::StatusCode::kInvalidArgument);
  ClassifyCall greedy = Call("echo", {good_});
  greedy.top_k = 4;
  EXPECT_EQ(Classify(std::move(greedy)).status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(metrics_.refused(Refusal::kInvalid).value(), 2u);
}

TEST_F(ClassifierTest, FullQueueRefusesTheItemsThatDoNotFit) {
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

TEST_F(ClassifierTest, FullPreprocessingQueueRefusesTheItemsThatDoNotFit) {
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

// Decoding what cannot be answered in time takes the cores of what can.
TEST_F(ClassifierTest, TextThatWouldBeTooLateIsNotPrepared) {
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

TEST_F(ClassifierTest, PassedDeadlineNeverReachesTheModel) {
  for (const ClassifyItem& item : {good_, ClassifyItem(TextItem{"cat"})}) {
    const bool tensors = std::holds_alternative<TensorItem>(item);
    ClassifyCall call = Call(tensors ? "echo" : "text", {item});
    call.deadline = clock_.Now();
    EXPECT_EQ(Classify(std::move(call)).status.code(), absl::StatusCode::kDeadlineExceeded);
  }
  EXPECT_EQ(executors_.rows_run(), 0);
  EXPECT_GE(metrics_.refused(Refusal::kDeadline).value(), 1u);
}

TEST_F(ClassifierTest, TimeoutIsAnsweredWhileTheModelStillRuns) {
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

// It used to throw away what was ready.
TEST_F(ClassifierTest, TimeoutKeepsTheItemsThatAreReady) {
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

// For ThreadSanitizer: the alarm rings while items finish.
TEST_F(ClassifierTest, EachItemIsAnsweredOnceWhoeverIsFirst) {
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

TEST_F(ClassifierTest, AnswerInTimeCallsTheAlarmOff) {
  ClassifyCall call = Call("echo", {good_});
  call.answer_by = clock_.Now() + milliseconds(1);
  EXPECT_TRUE(Classify(std::move(call)).status.ok());
}

TEST_F(ClassifierTest, CancelledCallNeverReachesTheModel) {
  const std::atomic<bool> gone{true};
  for (const ClassifyItem& item : {good_, ClassifyItem(TextItem{"cat"})}) {
    const bool tensors = std::holds_alternative<TensorItem>(item);
    ClassifyCall call = Call(tensors ? "echo" : "text", {item});
    call.cancelled = &gone;
    EXPECT_EQ(Classify(std::move(call)).status.code(), absl::StatusCode::kCancelled);
  }
  EXPECT_EQ(executors_.rows_run(), 0);
}

TEST_F(ClassifierTest, StagesAddUpToTheWhole) {
  on_run_ = [this] { clock_.Advance(milliseconds(7)); };
  const ClassifyAnswer answer = Classify(Call("echo", {good_}));
  ASSERT_EQ(answer.items.size(), 1u);
  EXPECT_EQ(answer.items[0].times.execute, milliseconds(7));
  EXPECT_EQ(answer.items[0].times.preprocess, milliseconds(0));
  EXPECT_EQ(answer.items[0].times.queue, milliseconds(0));
  EXPECT_EQ(answer.items[0].times.total, milliseconds(7));
}

TEST_F(ClassifierTest, ScoresThatAreNoNumbersAreInternal) {
  const std::vector<float> nan = {1, std::nanf(""), 2};
  const ClassifyAnswer answer = Classify(Call("echo", {TensorItem{{"x", FloatView(nan)}}}));
  EXPECT_EQ(answer.status.code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace torchd
