#include "server/execution/torch_plan.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/script.h>

#include <ctime>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "server/execution/plan_trial.h"
#include "server/execution/torch_runtime.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using State = PlanCandidate::State;

// Pictures of 3 channels to 4 scores.
torch::jit::Module MakeNetwork() {
  at::manual_seed(7);
  torch::jit::Module network("Network");
  network.register_parameter("first", at::randn({16, 3, 3, 3}), false);
  network.register_parameter("bias", at::randn({16}), false);
  network.register_parameter("second", at::randn({16, 16, 3, 3}), false);
  network.register_parameter("scores", at::randn({4, 16}), false);
  network.define(
      "def forward(self, image):\n"
      "    hidden = torch.relu(torch.conv2d(image, self.first, self.bias))\n"
      "    hidden = torch.relu(torch.conv2d(hidden, self.second) + 0.5)\n"
      "    return torch.linear(hidden.mean([2, 3]), self.scores)\n");
  network.eval();
  return network;
}

at::Tensor Picture(int64_t rows, int64_t side) {
  at::manual_seed(static_cast<uint64_t>(rows * 100 + side));
  return at::randn({rows, 3, side, side});
}

class TorchPlanTest : public ::testing::TestWithParam<Plan> {
 private:
  const c10::InferenceMode inference_mode_;
};

TEST_P(TorchPlanTest, AnswersAsTheSavedModelForEveryShape) {
  const torch::jit::Module network = MakeNetwork();
  const auto saved = MakeTorchPlan(network, Plan::kSaved);
  const auto plan = MakeTorchPlan(network, GetParam());
  for (int round = 0; round < 3; ++round) {
    for (const int64_t rows : {1, 4, 2}) {
      for (const int64_t side : {12, 9}) {
        const at::Tensor picture = Picture(rows, side);
        const at::Tensor expected = saved->Run({picture}).toTensor();
        const at::Tensor got = plan->Run({picture}).toTensor();
        EXPECT_TRUE(at::allclose(got, expected, 1e-4, 1e-5)) << rows << " rows, side " << side;
      }
    }
    if (round == 1) plan->Settle();
  }
  const at::Tensor unseen = Picture(3, 17);
  EXPECT_TRUE(
      at::allclose(plan->Run({unseen}).toTensor(), saved->Run({unseen}).toTensor(), 1e-4, 1e-5));
}

TEST_P(TorchPlanTest, DoesNotChangeTheModule) {
  const torch::jit::Module network = MakeNetwork();
  const at::Tensor before = network.attr("first").toTensor().clone();
  const auto plan = MakeTorchPlan(network, GetParam());
  plan->Run({Picture(1, 12)});
  EXPECT_TRUE(at::equal(network.attr("first").toTensor(), before));
  EXPECT_TRUE(network.attr("first").toTensor().is_contiguous());
}

TEST_P(TorchPlanTest, WrongNumberOfInputsThrows) {
  const auto plan = MakeTorchPlan(MakeNetwork(), GetParam());
  EXPECT_THROW(plan->Run({Picture(1, 12), Picture(1, 12)}), c10::Error);
}

double CpuSeconds(clockid_t clock) {
  timespec time{};
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// oneDNN divides the work when it compiles, not when it runs. Where a loader, which has no team,
// had compiled for itself alone, an executor's other thread would have nothing to do.
TEST(TeamTest, WhatALoaderCompiledIsRunByTheExecutorsWholeTeam) {
  torch::jit::Module network("Network");
  network.register_parameter("kernel", at::randn({64, 64, 3, 3}), false);
  network.define("def forward(self, x):\n    return torch.relu(torch.conv2d(x, self.kernel))\n");
  network.eval();
  const at::Tensor input = at::randn({1, 64, 64, 64});
  double others_part = 0;
  std::thread executor([&] {
    const c10::InferenceMode inference_mode;
    PrepareExecutorThread(2);
    const auto plan = MakeTorchPlan(network, Plan::kGraph);
    std::thread([&] {
      const c10::InferenceMode inference_mode_of_loader;
      PrepareLoaderThread();
      plan->Run({input});
    }).join();
    plan->Run({input});
    const double all = CpuSeconds(CLOCK_PROCESS_CPUTIME_ID);
    const double own = CpuSeconds(CLOCK_THREAD_CPUTIME_ID);
    for (int run = 0; run < 50; ++run) plan->Run({input});
    const double own_took = CpuSeconds(CLOCK_THREAD_CPUTIME_ID) - own;
    others_part = (CpuSeconds(CLOCK_PROCESS_CPUTIME_ID) - all - own_took) / own_took;
  });
  executor.join();
  EXPECT_GT(others_part, 0.4);
}

INSTANTIATE_TEST_SUITE_P(Plans, TorchPlanTest,
                         ::testing::Values(Plan::kSaved, Plan::kFrozen, Plan::kOneDnn,
                                           Plan::kChannelsLast, Plan::kGraph, Plan::kDirect),
                         [](const auto& test) { return Name(test.param); });

class TryPlansTest : public ::testing::Test {
 protected:
  std::string Save(const torch::jit::Module& network) const {
    network.save(folder_.Path("model.pt"));
    return folder_.Path("model.pt");
  }

  TempFolder folder_;
  ModelConfig config_ = [] {
    ModelConfig config;
    config.inputs = {{"image", "float32", {3, 12, 12}}};
    return config;
  }();
};

TEST_F(TryPlansTest, EachIsTimedBesideTheDefault) {
  const auto tried = TryPlans(Save(MakeNetwork()), config_,
                              {Plan::kOneDnn, Plan::kChannelsLast, Plan::kGraph, Plan::kDirect});
  ASSERT_TRUE(tried.ok()) << tried.status();
  ASSERT_EQ(tried->size(), 5u);
  EXPECT_EQ((*tried)[0].plan, kDefaultPlan);
  EXPECT_EQ((*tried)[0].ratio, 1);
  for (const PlanCandidate& candidate : *tried) {
    EXPECT_EQ(candidate.state, State::kTimed) << Name(candidate.plan) << candidate.reason;
    EXPECT_GT(candidate.run, Duration(0));
    EXPECT_LT(candidate.difference, kPlanTolerance);
  }
}

TEST_F(TryPlansTest, FewerBitsDifferAndAreTimedOnlyWithinWhatIsAllowed) {
  const std::vector<Plan> shorter = {Plan::kBf16, Plan::kFp16, Plan::kInt8};
  const std::string file = Save(MakeNetwork());
  const auto strict = TryPlans(file, config_, shorter);
  ASSERT_TRUE(strict.ok()) << strict.status();
  config_.plan_difference_max = 0.3;
  const auto allowed = TryPlans(file, config_, shorter);
  ASSERT_TRUE(allowed.ok()) << allowed.status();
  for (size_t i = 1; i <= shorter.size(); ++i) {
    EXPECT_EQ((*strict)[i].state, State::kWrong) << Name(shorter[i - 1]) << (*strict)[i].reason;
    EXPECT_EQ((*allowed)[i].state, State::kTimed) << Name(shorter[i - 1]) << (*allowed)[i].reason;
    EXPECT_GT((*allowed)[i].difference, kPlanTolerance);
    EXPECT_LT((*allowed)[i].difference, 0.3);
  }
}

TEST_F(TryPlansTest, NothingToQuantize) {
  torch::jit::Module module("Module");
  module.define("def forward(self, x):\n    return x.flatten(1)\n");
  module.eval();
  config_.inputs = {{"x", "float32", {8}}};
  const auto tried = TryPlans(Save(module), config_, {Plan::kInt8});
  ASSERT_TRUE(tried.ok()) << tried.status();
  EXPECT_EQ((*tried)[1].state, State::kFailed);
  EXPECT_NE((*tried)[1].reason.find("no linear layers"), std::string::npos) << (*tried)[1].reason;
}

TEST_F(TryPlansTest, NoPicturesNoChannels) {
  torch::jit::Module linear("Linear");
  linear.register_parameter("scores", at::randn({4, 8}), false);
  linear.define("def forward(self, x):\n    return torch.linear(x, self.scores)\n");
  linear.eval();
  config_.inputs = {{"x", "float32", {8}}};
  const auto tried = TryPlans(Save(linear), config_, {Plan::kChannelsLast});
  ASSERT_TRUE(tried.ok()) << tried.status();
  EXPECT_EQ((*tried)[1].state, State::kFailed);
  EXPECT_EQ((*tried)[1].reason, "the model takes no pictures");
}

TEST_F(TryPlansTest, AModelThatDoesNotRunIsAnError) {
  config_.inputs[0].shape = {5, 12, 12};
  EXPECT_FALSE(TryPlans(Save(MakeNetwork()), config_, {Plan::kGraph}).ok());
}

}  // namespace
}  // namespace torchd
