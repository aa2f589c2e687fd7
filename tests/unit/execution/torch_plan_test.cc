#include "server/execution/torch_plan.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/script.h>

#include <ctime>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "server/execution/plan_trial.h"
#include "server/execution/torch_model.h"
#include "server/execution/torch_runtime.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using State = PlanCandidate::State;

struct Parameter {
  const char* name;
  std::vector<int64_t> sizes;
};

// The body of forward(self, x) and what it refers to, drawn at random.
torch::jit::Module MakeModule(const std::string& body,
                              const std::vector<Parameter>& parameters = {}) {
  at::manual_seed(7);
  torch::jit::Module module("Network");
  for (const auto& [name, sizes] : parameters) {
    module.register_parameter(name, at::randn(sizes), false);
  }
  module.define("def forward(self, x):\n" + body);
  module.eval();
  return module;
}

// Pictures of 3 channels to 4 scores.
torch::jit::Module MakeNetwork() {
  return MakeModule(
      "    hidden = torch.relu(torch.conv2d(x, self.first, self.bias))\n"
      "    hidden = torch.relu(torch.conv2d(hidden, self.second) + 0.5)\n"
      "    return torch.linear(hidden.mean([2, 3]), self.scores)\n",
      {{"first", {16, 3, 3, 3}}, {"bias", {16}}, {"second", {16, 16, 3, 3}}, {"scores", {4, 16}}});
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
  const torch::jit::Module network = MakeModule(
      "    return torch.relu(torch.conv2d(x, self.kernel))\n", {{"kernel", {64, 64, 3, 3}}});
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
  TryPlansTest() { TakesRowsOf({3, 12, 12}); }

  void TakesRowsOf(std::vector<int64_t> shape) {
    config_.inputs = {{"x", "float32", std::move(shape)}};
  }

  // By candidate, the default first; throws what went wrong with all of them.
  std::vector<PlanCandidate> Try(const torch::jit::Module& network,
                                 const std::vector<TeamedPlan>& plans) const {
    return TryAny(network, plans).value();
  }

  absl::StatusOr<std::vector<PlanCandidate>> TryAny(const torch::jit::Module& network,
                                                    const std::vector<TeamedPlan>& plans) const {
    network.save(folder_.Path("model.pt"));
    return TryPlans({folder_.Path("model.pt")}, config_, plans, limit_);
  }

  const TempFolder folder_;
  ModelConfig config_;
  Duration limit_ = std::chrono::minutes(1);
};

TEST_F(TryPlansTest, EachIsTimedBesideTheDefault) {
  const auto tried =
      Try(MakeNetwork(), {Plan::kOneDnn, Plan::kChannelsLast, Plan::kGraph, Plan::kDirect});
  ASSERT_EQ(tried.size(), 5u);
  EXPECT_EQ(tried[0].plan, kDefaultPlan);
  EXPECT_EQ(tried[0].ratio, 1);
  for (const PlanCandidate& candidate : tried) {
    EXPECT_EQ(candidate.state, State::kTimed) << Name(candidate.plan) << candidate.reason;
    EXPECT_GT(candidate.run, Duration(0));
    EXPECT_LT(candidate.difference, kPlanTolerance);
  }
}

TEST_F(TryPlansTest, WithoutMuchTimeTheFirstIsTimedAndOthersLeft) {
  limit_ = std::chrono::milliseconds(1);
  const auto tried = Try(MakeNetwork(), {Plan::kGraph, Plan::kOneDnn});
  ASSERT_EQ(tried.size(), 3u);
  EXPECT_EQ(tried[0].state, State::kTimed);
  EXPECT_EQ(tried[1].state, State::kTimed);
  EXPECT_EQ(tried[2].state, State::kUntried);
  EXPECT_EQ(tried[2].reason, "there was no time left for it");
}

TEST_F(TryPlansTest, FewerThreadsAreTimedBesideAll) {
  std::thread([&] {
    PrepareExecutorThread(2);
    const auto tried = Try(MakeNetwork(), {Plan::kDirect, {Plan::kDirect, 1}, {kDefaultPlan, 1}});
    ASSERT_EQ(tried.size(), 4u);
    for (const size_t i : {0, 1, 2, 3}) {
      const PlanCandidate& candidate = tried[i];
      EXPECT_EQ(candidate.threads, i < 2 ? 0 : 1);
      EXPECT_EQ(candidate.state, State::kTimed) << candidate.reason;
      EXPECT_GT(candidate.run, Duration(0));
    }
  }).join();
}

TEST_F(TryPlansTest, ThreadsAreThoseOfTheChoiceElseOfTheConfiguration) {
  const std::string file = folder_.Path("model.pt");
  MakeNetwork().save(file);
  const auto threads = [&](TeamedPlan plan) {
    const auto loaded = TorchModel::Load(file, config_, plan);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    return loaded.ok() ? (*loaded)->threads() : -1;
  };
  EXPECT_EQ(threads(kDefaultPlan), 0);
  config_.plan_threads = 3;
  EXPECT_EQ(threads(Plan::kDirect), 3);
  EXPECT_EQ(threads({Plan::kDirect, 2}), 2);
}

TEST_F(TryPlansTest, FewerBitsDifferAndAreTimedOnlyWithinWhatIsAllowed) {
  const std::vector<TeamedPlan> shorter = {Plan::kBf16, Plan::kFp16, Plan::kInt8};
  const auto strict = Try(MakeNetwork(), shorter);
  config_.plan_difference_max = 0.3;
  const auto allowed = Try(MakeNetwork(), shorter);
  for (size_t i = 1; i <= shorter.size(); ++i) {
    EXPECT_EQ(strict[i].state, State::kWrong) << Name(shorter[i - 1].plan) << strict[i].reason;
    EXPECT_EQ(allowed[i].state, State::kTimed) << Name(shorter[i - 1].plan) << allowed[i].reason;
    EXPECT_GT(allowed[i].difference, kPlanTolerance);
    EXPECT_LT(allowed[i].difference, 0.3);
  }
}

TEST_F(TryPlansTest, FewerBitsThatTheirOwnerHasChosenMayDifferByAnything) {
  config_.plan = Plan::kBf16;
  const auto tried = Try(MakeNetwork(), {Plan::kBf16, Plan::kFp16});
  EXPECT_EQ(tried[1].state, State::kTimed) << tried[1].reason;
  EXPECT_GT(tried[1].difference, kPlanTolerance);
  EXPECT_EQ(tried[2].state, State::kWrong);  // This one was not.
  config_.plan_difference_max = 1e-6;        // No less than the others may.
  EXPECT_EQ(Try(MakeNetwork(), {Plan::kBf16})[1].state, State::kWrong);
}

TEST_F(TryPlansTest, NothingToQuantize) {
  TakesRowsOf({8});
  const auto tried = Try(MakeModule("    return x.flatten(1)\n"), {Plan::kInt8});
  EXPECT_EQ(tried[1].state, State::kFailed);
  EXPECT_NE(tried[1].reason.find("no linear layers"), std::string::npos) << tried[1].reason;
}

TEST_F(TryPlansTest, NoPicturesNoChannels) {
  TakesRowsOf({8});
  const auto linear = MakeModule("    return torch.linear(x, self.scores)\n", {{"scores", {4, 8}}});
  const auto tried = Try(linear, {Plan::kChannelsLast});
  EXPECT_EQ(tried[1].state, State::kFailed);
  EXPECT_EQ(tried[1].reason, "the model takes no pictures");
}

TEST_F(TryPlansTest, AModelThatDoesNotRunIsAnError) {
  TakesRowsOf({5, 12, 12});
  EXPECT_FALSE(TryAny(MakeNetwork(), {Plan::kGraph}).ok());
}

}  // namespace
}  // namespace torchd
