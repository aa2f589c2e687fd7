#include "server/execution/plan_fallback.h"

#include <torch/script.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/execution/torch_model.h"
#include "server/execution/torch_runtime.h"
#include "server/inference/trial_row.h"
#include "tests/unit/fakes/fake_model.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ToldTest : public ::testing::Test {
 protected:
  Model::PlanFailed Teller() {
    return [this](Plan plan, const std::string& reason) {
      told_.push_back(Name(plan) + ": " + reason);
    };
  }

  std::vector<std::string> told_;
};

using PlanFallbackTest = ToldTest;

TEST_F(PlanFallbackTest, EachIsCountedAndTheFirstTold) {
  PlanFallback fallback(Plan::kGraph);
  fallback.Tell(Teller());
  EXPECT_EQ(fallback.plan(), Plan::kGraph);
  EXPECT_EQ(fallback.reason(), "");
  fallback.Note("one");
  fallback.Note("another");
  EXPECT_EQ(fallback.plan(), Plan::kSaved);
  EXPECT_EQ(fallback.count(), 2);
  EXPECT_EQ(fallback.reason(), "one");
  EXPECT_THAT(told_, ElementsAre("graph: one"));
}

TEST_F(PlanFallbackTest, WhatFailedBeforeItsOwnerCameIsToldThen) {
  PlanFallback fallback(Plan::kInt8);
  fallback.Note("too early");
  fallback.Tell(Teller());
  EXPECT_THAT(told_, ElementsAre("int8: too early"));
}

// Scores far above what 16 bits hold, for inputs of which none is; brought back by a factor.
class FewerBitsTest : public ToldTest {
 protected:
  FewerBitsTest() { PrepareLoaderThread(); }

  std::unique_ptr<Model> Load(const std::string& body, Plan plan = Plan::kFp16) {
    torch::jit::Module module("Network");
    module.define("def forward(self, x):\n    return " + body + "\n");
    module.eval();
    module.save(folder_.Path("model.pt"));
    ModelConfig config;
    config.inputs = {{"x", "float32", {3}}};
    auto loaded = TorchModel::Load(folder_.Path("model.pt"), config, plan);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    (*loaded)->TellOfFailedPlan(Teller());
    return *std::move(loaded);
  }

  static std::vector<float> Scores(Model& model, const std::vector<float>& row) {
    const RowInputs inputs = {FloatView(row)};
    const RowInputs* const rows = &inputs;
    std::vector<Tensor> outputs;
    const absl::Status ran = model.Run(absl::MakeConstSpan(&rows, 1), outputs);
    EXPECT_TRUE(ran.ok()) << ran;
    return Floats(ViewOf(outputs.at(0)));
  }

  static TensorView ViewOf(const Tensor& tensor) {
    return {tensor.type, tensor.shape, tensor.bytes.data(), tensor.bytes.size()};
  }

  const TempFolder folder_;
};

// Every call was INTERNAL, where the saved model had an answer.
TEST_F(FewerBitsTest, ScoresThatTheSavedModelHasAreAnsweredByIt) {
  const auto model = Load("(x * 100.0) * 100.0 / 10000.0");
  EXPECT_THAT(Scores(*model, {1, 2, 3}), ElementsAre(1, 2, 3));
  EXPECT_EQ(model->plan(), Plan::kFp16);
  EXPECT_THAT(Scores(*model, {1, 2, 1000}), ElementsAre(1, 2, 1000));
  EXPECT_EQ(model->plan(), Plan::kSaved);
  EXPECT_EQ(model->fallbacks(), 1);
  EXPECT_THAT(told_, ElementsAre("fp16: " + model->fallback_reason()));
  EXPECT_THAT(model->fallback_reason(), HasSubstr("not numbers where the saved model's are"));
  EXPECT_THAT(Scores(*model, {4, 5, 6}), ElementsAre(4, 5, 6));
  EXPECT_EQ(model->fallbacks(), 1);
}

TEST_F(FewerBitsTest, APlanWhoseFirstRunLeavesItsRangeNeverServes) {
  const auto model = Load("x * 100000.0");
  EXPECT_EQ(model->plan(), Plan::kSaved);
  EXPECT_THAT(told_, ElementsAre(HasSubstr("fp16: ")));
  EXPECT_THAT(Scores(*model, {1, 1, 1}), ElementsAre(1e5F, 1e5F, 1e5F));
}

TEST_F(FewerBitsTest, InputsThatAreNoNumbersAndModelsThatGiveNoneAreNotThePlansFault) {
  const auto model = Load("x * 2.0");
  constexpr float kInfinite = std::numeric_limits<float>::infinity();
  EXPECT_THAT(Scores(*model, {kInfinite, kInfinite, kInfinite}), Each(kInfinite));
  EXPECT_EQ(model->plan(), Plan::kFp16);
  const auto infinite = Load("(x * 2.0) / (x - x)");
  EXPECT_THAT(Scores(*infinite, {1, 2, 1000}), Each(kInfinite));
  EXPECT_EQ(infinite->plan(), Plan::kFp16);
  EXPECT_THAT(told_, IsEmpty());
}

TEST_F(FewerBitsTest, PlansOfAllBitsAreNotHeldAgainstTheSavedModel) {
  const auto model = Load("(x * 2.0) / (x - x)", Plan::kFrozen);
  Scores(*model, {1, 2, 3});
  EXPECT_EQ(model->plan(), Plan::kFrozen);
}

}  // namespace
}  // namespace torchd
