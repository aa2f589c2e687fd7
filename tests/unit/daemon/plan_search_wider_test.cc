// What a search tries beside the plans of every model: fewer threads, fewer bits, a package.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/daemon/plan_search.h"
#include "tests/unit/daemon/plan_search_fixture.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using State = PlanCandidate::State;

TEST_F(PlanSearchTest, TheFastestIsTriedOnFewerThreadsBesideItself) {
  threads_ = 4;
  again_ = {{Plan::kGraph, 0.55}};
  fewer_ = {{2, 0.45}, {1, 0.6}};
  const PlanChoice choice = Choose();
  EXPECT_THAT(tried_, ElementsAre("direct", "graph", "onednn", "channels_last", "saved",  // Then:
                                  "graph", "graph on 2", "graph on 1"));
  EXPECT_EQ(choice.teamed(), TeamedPlan(Plan::kGraph, 2));
  EXPECT_EQ(choice.why, "the fastest of 6 timed, faster on 2 threads");
  EXPECT_EQ(Of(choice, Plan::kGraph).ratio, 0.55);  // As it was beside the others.
  EXPECT_EQ(choice.candidates.size(), 8u);
  tried_.clear();
  const PlanChoice again = Choose();
  EXPECT_THAT(tried_, IsEmpty());
  EXPECT_EQ(again.teamed(), TeamedPlan(Plan::kGraph, 2));
  EXPECT_EQ(again.why, "the fastest of 6 timed, faster on 2 threads, in an earlier search");
}

TEST_F(PlanSearchTest, TheDefaultPlanIsTriedOnFewerThreadsAsWell) {
  threads_ = 2;
  ratios_ = {{Plan::kGraph, 1.1},
             {Plan::kDirect, 1.2},
             {Plan::kOneDnn, 1.1},
             {Plan::kChannelsLast, 1.1},
             {Plan::kSaved, 1.3}};
  fewer_ = {{1, 0.6}};
  EXPECT_EQ(Choose().teamed(), TeamedPlan(kDefaultPlan, 1));
  EXPECT_EQ(tried_.back(), "frozen on 1");
  EXPECT_EQ(tried_.size(), 6u);
}

TEST_F(PlanSearchTest, PinnedThreadsAreNotSearchedAndKnownApart) {
  threads_ = 2;
  fewer_ = {{1, 0.3}};
  EXPECT_EQ(Choose().threads, 1);
  tried_.clear();
  config_.plan_threads = 2;
  const PlanChoice pinned = Choose();
  EXPECT_EQ(pinned.teamed(), TeamedPlan(Plan::kGraph, 0));  // All plans had those threads.
  EXPECT_THAT(tried_, ElementsAre("direct", "graph", "onednn", "channels_last", "saved"));
}

TEST_F(PlanSearchTest, FewerThreadsThatCrashLeaveTheChoiceAsItWas) {
  threads_ = 2;
  const PlanChoice choice = Choose();
  EXPECT_EQ(choice.teamed(), TeamedPlan(Plan::kGraph, 0));
  EXPECT_EQ(choice.candidates.back().threads, 1);
  EXPECT_EQ(choice.candidates.back().state, State::kFailed);
  EXPECT_EQ(choice.candidates.back().reason, "it crashed");
}

// Whose runs are long has all threads, and need not be searched for again because of that.
TEST_F(PlanSearchTest, WithoutTimeForFewerThreadsTheRestIsKept) {
  threads_ = 2;
  budget_ = milliseconds(4'300);  // Two groups take two seconds each.
  fewer_ = {{1, 0.3}};
  EXPECT_EQ(Choose().threads, 0);
  tried_.clear();
  EXPECT_EQ(Choose().threads, 0);
  EXPECT_THAT(tried_, IsEmpty());
}

TEST_F(PlanSearchTest, FewerBitsAreTriedWhereTheOwnerAllowsADifference) {
  ratios_[Plan::kBf16] = 0.7;
  ratios_[Plan::kFp16] = 2;
  ratios_[Plan::kInt8] = 0.3;
  EXPECT_EQ(Choose().plan, Plan::kGraph);
  config_.plan_difference_max = 0.05;
  tried_.clear();
  EXPECT_EQ(Choose().plan, Plan::kInt8);
  EXPECT_THAT(tried_, ElementsAre("direct", "graph", "bf16", "fp16", "int8", "onednn",
                                  "channels_last", "saved"));
  config_.plan_difference_max = 0.5;  // What was too far then may do now.
  tried_.clear();
  EXPECT_EQ(Choose().why, "the fastest of 9 timed");
  EXPECT_THAT(tried_, SizeIs(8));
  config_.plan_difference_max = 0;
  EXPECT_EQ(Choose().plan, Plan::kGraph);
}

TEST_F(PlanSearchTest, APackageMayBeForbiddenOrPinned) {
  repository_.Write("cat/1/model.pt2", "code");
  folder_.package_file = repository_.Path("cat/1/model.pt2");
  config_.plans_forbidden = {Plan::kPackage};
  EXPECT_EQ(Choose().plan, Plan::kGraph);
  EXPECT_THAT(tried_, ElementsAre("direct", "graph", "onednn", "channels_last", "saved"));
  config_.plan = Plan::kPackage;
  EXPECT_EQ(Choose().plan, Plan::kPackage);
}

// Its owner allowed it, and never learned how far its answers are from the saved model's.
TEST_F(PlanSearchTest, AChosenPlanOfFewerBitsIsComparedOnce) {
  ratios_[Plan::kInt8] = 0.4;
  config_.plan = Plan::kInt8;
  const PlanChoice first = Choose(std::chrono::microseconds(1));
  EXPECT_EQ(first.plan, Plan::kInt8);
  EXPECT_EQ(first.why, "the model's configuration says so");
  ASSERT_EQ(first.candidates.size(), 2u);
  EXPECT_EQ(Of(first, Plan::kInt8).ratio, 0.4);
  EXPECT_THAT(tried_, ElementsAre("int8"));
  EXPECT_EQ(Choose().candidates.size(), 2u);
  EXPECT_THAT(tried_, ElementsAre("int8"));  // Kept.
  config_.plan = Plan::kBf16;
  const PlanChoice crashed = Choose();
  EXPECT_EQ(crashed.plan, Plan::kBf16);
  EXPECT_EQ(crashed.why,
            "the model's configuration says so; its answers were not compared: it crashed");
  EXPECT_THAT(crashed.candidates, IsEmpty());
  config_.plan.reset();  // The search is another question.
  EXPECT_EQ(Choose().plan, Plan::kGraph);
  config_.plan = Plan::kFp16;
  tried_.clear();
  budget_ = std::chrono::seconds(0);
  EXPECT_THAT(Choose().candidates, IsEmpty());
  EXPECT_THAT(tried_, IsEmpty());
}

}  // namespace
}  // namespace torchd
