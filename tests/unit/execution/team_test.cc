// What docs/decisions/0003 promises of threads, seen from outside: the process's own list of them.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <sched.h>
#include <torch/script.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/execution/torch_plan.h"
#include "server/execution/torch_runtime.h"

namespace torchd {
namespace {

using ::testing::SizeIs;

constexpr int kTeam = 2;

torch::jit::Module MakeNetwork() {
  at::manual_seed(7);
  torch::jit::Module network("Network");
  network.register_parameter("first", at::randn({32, 3, 3, 3}) * 0.1, false);
  network.register_parameter("second", at::randn({32, 32, 3, 3}) * 0.1, false);
  network.register_parameter("scores", at::randn({4, 32}), false);
  network.define(
      "def forward(self, image):\n"
      "    hidden = torch.relu(torch.conv2d(image, self.first))\n"
      "    hidden = torch.relu(torch.conv2d(hidden, self.second))\n"
      "    return torch.linear(hidden.mean([2, 3]), self.scores)\n");
  network.eval();
  return network;
}

at::Tensor Picture() { return at::randn({1, 3, 64, 64}); }

auto Threads() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                       std::filesystem::directory_iterator());
}

// A thread that was joined is listed a while longer, and its team ends after it: both must be gone
// before others are counted.
void OnThread(const std::function<void()>& body) {
  const auto before = Threads();
  std::thread([&] {
    const c10::InferenceMode inference_mode;
    body();
  }).join();
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (Threads() > before && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void OnExecutor(const std::function<void()>& body) {
  OnThread([&] {
    PrepareExecutorThread(kTeam);
    body();
  });
}

void OnLoader(const std::function<void()>& body) {
  OnThread([&] {
    PrepareLoaderThread();
    body();
  });
}

using Times = std::vector<std::chrono::steady_clock::duration>;

// Of a busy machine's times, the one with the least of others' in it.
double LeastSeconds(const Times& times) {
  return std::chrono::duration<double>(*std::min_element(times.begin(), times.end())).count();
}

class TeamOfPlanTest : public ::testing::TestWithParam<Plan> {};

// A team that stays with a loader, though idle, makes the threads more than the cores, and every
// executor's barrier a sleep: 200 of them in a run of resnet18. Code that oneDNN Graph compiled
// opened one at each run.
TEST_P(TeamOfPlanTest, NoneStaysWithALoader) {
  OnExecutor([&] {
    std::unique_ptr<TorchPlan> plan;
    OnLoader([&] {
      plan = MakeTorchPlan(MakeNetwork(), GetParam());
      const auto before = Threads();
      for (int run = 0; run < 4; ++run) plan->Run({Picture()});
      EXPECT_EQ(Threads(), before);
    });
    const auto before = Threads();
    for (int run = 0; run < 4; ++run) plan->Run({Picture()});
    EXPECT_EQ(Threads(), before + kTeam - 1);
    for (int run = 0; run < 4; ++run) plan->Run({Picture()});
    EXPECT_EQ(Threads(), before + kTeam - 1);
  });
}

// oneDNN opens a team of as many as it compiled for, whatever thread runs it.
TEST_P(TeamOfPlanTest, WhatIsForOneThreadRunsOnOne) {
  OnExecutor([&] {
    std::unique_ptr<TorchPlan> plan;
    OnLoader([&] {
      plan = MakeTorchPlan(MakeNetwork(), GetParam());
      const TeamOf one(1);
      for (int run = 0; run < 4; ++run) plan->Run({Picture()});
    });
    const auto before = Threads();
    {
      const TeamOf one(1);
      for (int run = 0; run < 4; ++run) plan->Run({Picture()});
    }
    EXPECT_EQ(Threads(), before);
  });
}

// Unflushed they cost fifty times as much. Of the two sizes, the larger is not denormal itself:
// what the network makes of it is.
TEST_P(TeamOfPlanTest, NumbersNearZeroCostNoMoreThanOthers) {
  OnExecutor([&] {
    const auto plan = MakeTorchPlan(MakeNetwork(), GetParam());
    for (int run = 0; run < 4; ++run) plan->Run({Picture()});
    for (const double size : {2.4e-38, 1e-40}) {
      const at::Tensor normal = Picture();
      const at::Tensor tiny = at::full({1, 3, 64, 64}, size, at::kFloat);
      Times normal_took;
      Times tiny_took;
      for (int run = 0; run < 15; ++run) {
        const auto begin = std::chrono::steady_clock::now();
        plan->Run({normal});
        const auto middle = std::chrono::steady_clock::now();
        plan->Run({tiny});
        normal_took.push_back(middle - begin);
        tiny_took.push_back(std::chrono::steady_clock::now() - middle);
      }
      EXPECT_LT(LeastSeconds(tiny_took), 3 * LeastSeconds(normal_took)) << size;
    }
  });
}

// Of each thread of the process: how many cores it may use.
std::vector<int> CoresOfThreads() {
  std::vector<int> counts;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    sched_getaffinity(std::stoi(task.path().filename()), sizeof cores, &cores);
    counts.push_back(CPU_COUNT(&cores));
  }
  return counts;
}

// Those that threads of this process keep to, each on its own.
std::set<int> CoresOfTeam() {
  std::set<int> kept;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    sched_getaffinity(std::stoi(task.path().filename()), sizeof cores, &cores);
    if (CPU_COUNT(&cores) != 1) continue;
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &cores)) kept.insert(core);
    }
  }
  return kept;
}

TEST(KeepTeamOnCoresTest, EachThreadHasACoreOfItsOwnAndOthersHaveAll) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (cores < 2) GTEST_SKIP() << "one core";
  OnThread([&] {
    PrepareExecutorThread(cores);
    KeepTeamOnCores(cores, 0);
    const std::vector<int> counts = CoresOfThreads();
    EXPECT_EQ(std::count(counts.begin(), counts.end(), 1), cores);
    EXPECT_GE(std::count(counts.begin(), counts.end(), cores), 1);  // The main thread.
  });
}

TEST(TeamOfTest, TheThreadHasItsTeamAgainAfterwards) {
  OnExecutor([&] {
    const auto before = Threads();
    OpenTeamOf(1);
    EXPECT_EQ(Threads(), before);
    EXPECT_EQ(at::get_num_threads(), kTeam);
    {
      const TeamOf one(1);
      EXPECT_EQ(at::get_num_threads(), 1);
    }
    {
      const TeamOf more(kTeam + 1);  // Than an executor has.
      EXPECT_EQ(at::get_num_threads(), kTeam);
    }
    EXPECT_EQ(at::get_num_threads(), kTeam);
    OpenTeamOf(0);
    EXPECT_EQ(Threads(), before + kTeam - 1);
    OpenTeamOf(1);  // The other waits for the next run of all.
    EXPECT_EQ(Threads(), before + kTeam - 1);
  });
}

TEST(TeamOfTest, ALoaderStaysAlone) {
  OnLoader([&] {
    const auto before = Threads();
    for (const int threads : {0, 1, 2}) {
      const TeamOf team(threads);
      EXPECT_EQ(at::get_num_threads(), 1);
    }
    EXPECT_EQ(Threads(), before);
  });
}

// libgomp ends threads when a team shrinks, and those that it makes anew begin on the core of the
// thread that opens the team.
TEST(KeepTeamOnCoresTest, ThreadsThatComeBackHaveTheirCoresAgain) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (cores < 4) GTEST_SKIP() << "fewer than four cores";
  OnThread([&] {
    PrepareExecutorThread(cores);
    KeepTeamOnCores(cores, 0);
    OpenTeamOf(2);
    OpenTeamOf(0);
    EXPECT_THAT(CoresOfTeam(), SizeIs(cores));
  });
}

TEST(KeepTeamOnCoresTest, ATeamThatDoesNotFitIsLeftAlone) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (cores < 2) GTEST_SKIP() << "one core";
  OnThread([&] {
    PrepareExecutorThread(cores);
    KeepTeamOnCores(cores, 1);
    const std::vector<int> counts = CoresOfThreads();
    EXPECT_EQ(std::count(counts.begin(), counts.end(), 1), 0);
  });
}

INSTANTIATE_TEST_SUITE_P(Plans, TeamOfPlanTest,
                         ::testing::Values(Plan::kSaved, Plan::kFrozen, Plan::kOneDnn,
                                           Plan::kChannelsLast, Plan::kGraph, Plan::kDirect),
                         [](const auto& test) { return Name(test.param); });

}  // namespace
}  // namespace torchd
