#include "server/registry/arrival.h"

#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"
#include "tests/unit/registry/repository_scans.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kFileBytes = 1000;

// One version of a model whose file has kFileBytes, and a budget that is looked at while it loads.
class ArrivalTest : public ::testing::Test {
 protected:
  ArrivalTest() {
    repository_.Write("cat/1/model.pt", std::string(kFileBytes, 'x'));
    parts_.load = [this](const VersionFolder&, const ModelConfig&, TeamedPlan) {
      while_loading_ = budget_.reserved();
      return absl::StatusOr<std::unique_ptr<Model>>(std::make_unique<FakeModel>());
    };
    parts_.warm_up = [](Model& model, const ModelConfig&) {
      return std::make_unique<Lane>(model, LaneOptions());
    };
  }

  // What the trial measures; nothing: there is no trial.
  void SetTrial(int64_t memory_bytes, int64_t memory_peak_bytes) {
    parts_.trial = [=](const VersionFolder&) {
      return absl::StatusOr<Trial>(Trial{{}, memory_bytes, memory_peak_bytes});
    };
  }

  std::vector<std::string> Notes() {
    const auto repository = Scan(repository_);
    auto made = Arrive(repository.models.at("cat").versions.at(1), parts_, budget_, metrics_);
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? (*made)->notes : std::vector<std::string>();
  }

  int64_t Leased() {
    const auto repository = Scan(repository_);
    auto made = Arrive(repository.models.at("cat").versions.at(1), parts_, budget_, metrics_);
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? (*made)->memory.bytes() : 0;
  }

  const TempFolder repository_;
  ArrivalParts parts_;
  MemoryBudget budget_{10'000};
  ServerMetrics metrics_{{"1", "2"}};
  int64_t while_loading_ = 0;
};

TEST_F(ArrivalTest, WithoutATrialTheSizeOfTheFileDecides) {
  EXPECT_EQ(Leased(), 2 * kFileBytes);
  EXPECT_EQ(while_loading_, 2 * kFileBytes);
}

TEST_F(ArrivalTest, TrialThatCouldNotMeasureProvesNothing) {
  SetTrial(0, 0);
  EXPECT_EQ(Leased(), 2 * kFileBytes);
}

TEST_F(ArrivalTest, ModelThatTakesMoreThanItsFileIsCountedWithThat) {
  SetTrial(3000, 5000);
  EXPECT_EQ(Leased(), 3000);
  EXPECT_EQ(while_loading_, kFileBytes + 5000);
}

// A model of 40 MiB was counted with 9: twelve of them took twice what memory_mb_max allowed.
TEST_F(ArrivalTest, NoModelIsCountedWithLessThanItsWeights) {
  SetTrial(10, 20);
  EXPECT_EQ(Leased(), kFileBytes);
  EXPECT_EQ(while_loading_, 2 * kFileBytes);
}

// They were taken without a word, whatever the model gives.
TEST_F(ArrivalTest, OutputsThatAreNotAsDeclaredAreNoted) {
  repository_.Write("cat/config.pbtxt", R"(max_batch_size: 1
    input { name: "x" data_type: TYPE_FP32 dims: 3 }
    output { name: "y" data_type: TYPE_FP32 dims: [ 7, 9 ] }
    output { name: "z" data_type: TYPE_FP32 dims: 1 })");
  EXPECT_THAT(Notes(), ElementsAre("output 'y': declared with shape [7,9], the model gives [3]",
                                   "output 'z': the model has no output 1"));
}

TEST_F(ArrivalTest, OutputsAsDeclaredAreNotNoted) {
  repository_.Write("cat/config.pbtxt", R"(max_batch_size: 1
    input { name: "x" data_type: TYPE_FP32 dims: 3 }
    output { name: "y" data_type: TYPE_FP32 dims: -1 })");
  EXPECT_THAT(Notes(), IsEmpty());
}

TEST_F(ArrivalTest, PeakThatFindsNoRoomIsRefusedBeforeTheLoad) {
  SetTrial(3000, 9500);
  const auto repository = Scan(repository_);
  const auto made = Arrive(repository.models.at("cat").versions.at(1), parts_, budget_, metrics_);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(while_loading_, 0);
  EXPECT_EQ(budget_.reserved(), 0);
}

class ArrivalPlanTest : public ArrivalTest {
 protected:
  static Tensor Score(float value) {
    Tensor score;
    score.shape = {1};
    score.bytes.resize(sizeof value);
    std::memcpy(score.bytes.data(), &value, sizeof value);
    return score;
  }

  ArrivalPlanTest() {
    parts_.plan = [](const VersionFolder&, const ModelConfig& config, const Trial&) {
      PlanChoice choice;
      choice.plan = config.plan.value_or(Plan::kGraph);
      choice.threads = 1;
      choice.why = "the fastest";
      return choice;
    };
    parts_.load = [this](const VersionFolder&, const ModelConfig&,
                         TeamedPlan plan) -> absl::StatusOr<std::unique_ptr<Model>> {
      loaded_.push_back(Name(plan.plan));
      threads_.push_back(plan.threads);
      if (plan.plan == fails_) return absl::InternalError("no such luck");
      return std::make_unique<FakeModel>();
    };
  }

  absl::StatusOr<std::unique_ptr<Servable>> Made() {
    const auto repository = Scan(repository_);
    return Arrive(repository.models.at("cat").versions.at(1), parts_, budget_, metrics_);
  }

  std::vector<std::string> loaded_;
  std::vector<int> threads_;
  std::optional<Plan> fails_;
  float graph_says_ = 1;
};

TEST_F(ArrivalPlanTest, TheChosenPlanIsLoadedAndRemembered) {
  const auto made = Made();
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_THAT(loaded_, ElementsAre("graph"));
  EXPECT_EQ((*made)->plan.why, "the fastest");
}

TEST_F(ArrivalPlanTest, AChosenPlanThatDoesNotLoadGivesWayToTheDefault) {
  fails_ = Plan::kGraph;
  const auto made = Made();
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_THAT(loaded_, ElementsAre("graph", "frozen"));
  EXPECT_THAT(threads_, ElementsAre(1, 0));
  EXPECT_EQ((*made)->plan.teamed(), TeamedPlan(kDefaultPlan));
  EXPECT_EQ((*made)->plan.why, "'graph' would be faster, but no such luck");
}

TEST_F(ArrivalPlanTest, AChosenPlanThatAnswersOtherwiseGivesWayToTheDefault) {
  repository_.Write("cat/model.yaml", "plan_difference_max: 0.25\n");
  parts_.trial = [](const VersionFolder&) -> absl::StatusOr<Trial> {
    return Trial{{Score(1)}, 0, 0};
  };
  parts_.run = [this](Model&) -> absl::StatusOr<std::vector<Tensor>> {
    return std::vector<Tensor>{Score(loaded_.back() == "graph" ? graph_says_ : 1)};
  };
  graph_says_ = 1.2F;
  auto made = Made();
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_THAT(loaded_, ElementsAre("graph"));
  graph_says_ = 1.3F;
  made = Made();
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ((*made)->plan.teamed(), TeamedPlan(kDefaultPlan));
  EXPECT_THAT((*made)->plan.why, HasSubstr("'graph' would be faster, but compared with its trial"));
  repository_.Write("cat/model.yaml", "plan: graph\n");
  EXPECT_THAT(Made().status().message(), HasSubstr("a difference of 0.3, at most 0.001"));
}

TEST_F(ArrivalPlanTest, MoreThreadsThanAnExecutorHasAreRefused) {
  repository_.Write("cat/model.yaml", "plan_threads: 3\n");
  parts_.executor_threads = 2;
  EXPECT_EQ(Made().status().message(),
            "plan_threads is 3, expected 1..2: an executor has no more threads "
            "(threads_per_executor)");
  EXPECT_THAT(loaded_, IsEmpty());
  parts_.executor_threads = 3;
  EXPECT_TRUE(Made().ok());
}

TEST_F(ArrivalPlanTest, APackageIsAPlanOnlyWhereThereIsOne) {
  repository_.Write("cat/model.yaml", "plan: package\n");
  EXPECT_EQ(Made().status().message(),
            "plan is package, but there is no " + repository_.Path("cat/1/model.pt2"));
  EXPECT_THAT(loaded_, IsEmpty());
  repository_.Write("cat/1/model.pt2", "code");
  EXPECT_TRUE(Made().ok());
  EXPECT_THAT(loaded_, ElementsAre("package"));
  std::filesystem::remove(repository_.Path("cat/1/model.pt"));
  repository_.Write("cat/model.yaml", "plan_threads: 1\n");
  EXPECT_EQ(Made().status().message(), "plan_threads is 1, but there is only " +
                                           repository_.Path("cat/1/model.pt2") +
                                           ", which has the threads that it was compiled for");
  repository_.Write("cat/model.yaml", "plans_forbidden: [package]\n");
  EXPECT_EQ(Made().status().message(), "plans_forbidden has package, and there is only " +
                                           repository_.Path("cat/1/model.pt2"));
}

// What a version's trial runs is what it has to be served by.
TEST_F(ArrivalPlanTest, OnlyAPackageThatMayServeIsReadAndCounted) {
  repository_.Write("cat/1/model.pt2", std::string(kFileBytes, 'y'));
  std::string tried;
  parts_.trial = [&](const VersionFolder& folder) {
    tried = folder.package_file.empty() ? "without" : ReadFile(folder.package_file);
    return absl::StatusOr<Trial>(Trial{{}, 1500, 1800});
  };
  const auto leased = [&](const std::string& yaml) {
    repository_.Write("cat/model.yaml", yaml);
    while_loading_ = 0;
    const auto made = Made();
    EXPECT_TRUE(made.ok()) << made.status();
    return (*made)->memory.bytes();
  };
  EXPECT_EQ(leased(""), 1500);  // Another plan serves.
  EXPECT_EQ(tried, "without");
  EXPECT_EQ(leased("plan: package\n"), 1500);  // Its trial had both.
  EXPECT_EQ(tried, std::string(kFileBytes, 'y'));
  EXPECT_EQ(leased("plans_forbidden: [package]\n"), 1500);
  EXPECT_EQ(tried, "without");
}

// The log named no model, and a server has many.
TEST_F(ArrivalPlanTest, APlanThatFailsIsLoggedWithItsModelAndVersion) {
  const auto made = Made();
  ASSERT_TRUE(made.ok()) << made.status();
  auto& model = static_cast<FakeModel&>(*(*made)->model);
  ASSERT_TRUE(model.told);
  ::testing::internal::CaptureStderr();
  model.told(Plan::kGraph, "no memory of that");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              HasSubstr("plan failed, model runs as saved model=cat version=1 plan=graph "
                        "reason=\"no memory of that\""));
}

TEST_F(ArrivalPlanTest, AConfiguredPlanThatDoesNotLoadIsAnError) {
  repository_.Write("cat/model.yaml", "plan: graph\n");
  fails_ = Plan::kGraph;
  EXPECT_EQ(Made().status().message(), "no such luck");
  EXPECT_THAT(loaded_, ElementsAre("graph"));
}

}  // namespace
}  // namespace torchd
