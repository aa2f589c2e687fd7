#include "server/classify/classifier.h"

#include <cmath>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/classify/classifier_fixture.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

// Decoding what cannot be answered in time takes the cores of what can.
// It used to throw away what was ready.
// For ThreadSanitizer: the alarm rings while items finish.
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
