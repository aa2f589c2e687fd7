#include "server/daemon/plan_search.h"

#include <filesystem>
#include <fstream>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/daemon/plan_search_fixture.h"

namespace torchd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using State = PlanCandidate::State;

TEST_F(PlanSearchTest, TheFastestServesAndAllAreReported) {
  const PlanChoice choice = Choose();
  EXPECT_EQ(choice.plan, Plan::kGraph);
  EXPECT_EQ(choice.why, "the fastest of 6 timed");
  EXPECT_EQ(choice.candidates.size(), 6u);
  EXPECT_THAT(tried_, ElementsAre("direct", "graph", "onednn", "channels_last", "saved"));
  EXPECT_THAT(limits_, ElementsAre(seconds(16), seconds(18)));  // Of what is left of the budget.
}

TEST_F(PlanSearchTest, WhoCrashesTakesNobodyAlong) {
  ratios_.erase(Plan::kChannelsLast);
  ratios_.erase(Plan::kGraph);
  const PlanChoice choice = Choose();
  EXPECT_THAT(tried_, ElementsAre("direct", "graph",  // Together; then each alone.
                                  "direct", "graph", "onednn", "channels_last",  // Likewise.
                                  "onednn", "channels_last", "saved"));
  EXPECT_EQ(choice.plan, Plan::kOneDnn);
  EXPECT_EQ(choice.candidates.size(), 6u);
  EXPECT_EQ(Of(choice, Plan::kGraph).state, State::kFailed);
  EXPECT_EQ(Of(choice, Plan::kChannelsLast).reason, "it crashed");
  EXPECT_EQ(Of(choice, Plan::kSaved).state, State::kTimed);
}

TEST_F(PlanSearchTest, NothingToTimeIsServedFrozen) {
  ratios_.clear();
  EXPECT_EQ(Choose().plan, kDefaultPlan);
}

TEST_F(PlanSearchTest, LittleGainIsNoReasonToChange) {
  for (auto& [plan, ratio] : ratios_) ratio = 0.99;
  EXPECT_EQ(Choose().plan, kDefaultPlan);
}

TEST_F(PlanSearchTest, WhatABusyMachineLeftIsTriedAtTheNextLoadAlone) {
  takes_ = seconds(13);
  const PlanChoice choice = Choose();
  EXPECT_EQ(choice.plan, Plan::kGraph);
  EXPECT_EQ(Of(choice, Plan::kDirect).state, State::kTimed);
  EXPECT_EQ(Of(choice, Plan::kOneDnn).state, State::kUntried);
  takes_ = seconds(2);
  ratios_[Plan::kSaved] = 0.3;
  tried_.clear();
  const PlanChoice next = Choose();
  EXPECT_EQ(next.plan, Plan::kSaved);
  EXPECT_THAT(tried_, ElementsAre("onednn", "channels_last", "saved"));
  EXPECT_THAT(limits_, ElementsAre(seconds(16), seconds(7), seconds(16), milliseconds(14'400),
                                   milliseconds(12'800)));
  EXPECT_THAT(next.candidates, SizeIs(6));
  tried_.clear();
  EXPECT_EQ(Choose().why, "the fastest of 6 timed, in an earlier search");
  EXPECT_THAT(tried_, IsEmpty());
}

// The trial itself left it.
TEST_F(PlanSearchTest, WhatATrialLeftIsTriedAtTheNextLoad) {
  untried_ = {Plan::kGraph};
  EXPECT_EQ(Of(Choose(), Plan::kGraph).state, State::kUntried);
  untried_.clear();
  tried_.clear();
  EXPECT_EQ(Choose().plan, Plan::kGraph);
  EXPECT_THAT(tried_, ElementsAre("graph"));
}

TEST_F(PlanSearchTest, WhoHadMuchTimeIsNotWaitedForAgain) {
  takes_ = seconds(21);
  const PlanChoice first = Choose();
  EXPECT_EQ(first.plan, kDefaultPlan);
  EXPECT_EQ(Of(first, Plan::kDirect).state, State::kUntried);  // It had a half of it.
  EXPECT_THAT(Of(first, Plan::kSaved).reason, HasSubstr("20000 ms were over"));
  const std::vector<Plan> plans = {Plan::kDirect, Plan::kGraph, Plan::kOneDnn, Plan::kChannelsLast,
                                   Plan::kSaved};
  for (const Plan plan : plans) {  // At each load one more.
    EXPECT_NE(Of(Choose(), plan).reason, "");
    EXPECT_EQ(Of(Choose(), plan).state, State::kFailed) << Name(plan);
  }
  tried_.clear();
  Choose();
  EXPECT_THAT(tried_, IsEmpty());
}

TEST_F(PlanSearchTest, SearchedOnceForTheSameBytesOnTheSameMachine) {
  const PlanChoice first = Choose();
  tried_.clear();
  const PlanChoice again = Choose();
  EXPECT_THAT(tried_, IsEmpty());
  EXPECT_EQ(again.plan, first.plan);
  EXPECT_EQ(again.why, "the fastest of 6 timed, in an earlier search");
  EXPECT_EQ(again.candidates.size(), 6u);
  EXPECT_EQ(Of(again, Plan::kGraph).run, Of(first, Plan::kGraph).run);
  machine_ = "threads 4, LibTorch 2.11.0, a CPU";
  Choose();
  EXPECT_EQ(tried_.size(), 5u);
  repository_.Write("cat/1/model.pt", "other");
  Choose();
  EXPECT_EQ(tried_.size(), 10u);
}

TEST_F(PlanSearchTest, ADamagedRecordIsNone) {
  Choose();
  tried_.clear();
  const std::string path =
      std::filesystem::directory_iterator(repository_.Path("cache"))->path().string();
  ASSERT_TRUE(std::ifstream(path).is_open()) << path;
  for (const char* const record :
       {"", "torchd plans 2\n", "torchd plans 1\nthreads 2, LibTorch 2.11.0, a CPU\nnonsense\n",
        "torchd plans 4\nthreads 2, LibTorch 2.11.0, a CPU\ngraph 0 timed 5 nan 0 \n"}) {
    std::ofstream(path) << record;
    tried_.clear();
    EXPECT_EQ(Choose().plan, Plan::kGraph);
    EXPECT_EQ(tried_.size(), 5u) << record;
  }
}

TEST_F(PlanSearchTest, TheConfigurationDecides) {
  config_.plan = Plan::kSaved;
  EXPECT_EQ(Choose().plan, Plan::kSaved);
  EXPECT_THAT(tried_, IsEmpty());
  config_.plan.reset();
  config_.plans_forbidden = {Plan::kGraph};
  const PlanChoice without = Choose();
  EXPECT_EQ(without.plan, Plan::kOneDnn);
  EXPECT_EQ(Of(without, Plan::kGraph).state, State::kForbidden);
  EXPECT_EQ(tried_.size(), 4u);
  config_.plans_forbidden.clear();  // What was never tried is now.
  EXPECT_EQ(Choose().plan, Plan::kGraph);
  tried_.clear();
  config_.plans_forbidden = {Plan::kGraph, Plan::kOneDnn};  // Known well enough.
  EXPECT_EQ(Choose().plan, Plan::kChannelsLast);
  EXPECT_THAT(tried_, IsEmpty());
}

TEST_F(PlanSearchTest, TheDefaultComesFirstWhereAllOfAGroupIsForbidden) {
  config_.plans_forbidden = {Plan::kDirect};
  EXPECT_EQ(Choose().candidates.front().plan, kDefaultPlan);
}

TEST_F(PlanSearchTest, APackageBesideTheModelIsOneMore) {
  repository_.Write("cat/1/model.pt2", "code");
  folder_.package_file = repository_.Path("cat/1/model.pt2");
  EXPECT_EQ(Choose().plan, Plan::kPackage);
  EXPECT_THAT(tried_,
              ElementsAre("direct", "graph", "package", "onednn", "channels_last", "saved"));
  tried_.clear();
  EXPECT_EQ(Choose().why, "the fastest of 7 timed, in an earlier search");
  EXPECT_THAT(tried_, IsEmpty());
  repository_.Write("cat/1/model.pt2", "other code");
  EXPECT_EQ(Choose().why, "the fastest of 7 timed");
  EXPECT_EQ(tried_.size(), 6u);
  tried_.clear();
  folder_.package_file.clear();  // Known with it, not without.
  EXPECT_EQ(Choose().plan, Plan::kGraph);
  EXPECT_EQ(tried_.size(), 5u);
}

TEST_F(PlanSearchTest, ACloseCallIsRunOnceMoreSideBySide) {
  ratios_[Plan::kOneDnn] = 0.52;
  again_ = {{Plan::kOneDnn, 0.49}, {Plan::kGraph, 0.51}};
  const PlanChoice choice = Choose();
  EXPECT_THAT(tried_, ElementsAre("direct", "graph", "onednn", "channels_last", "saved",  // Then:
                                  "graph", "onednn"));
  EXPECT_EQ(choice.plan, Plan::kOneDnn);
  EXPECT_EQ(Of(choice, Plan::kGraph).ratio, 0.51);
  EXPECT_EQ(choice.candidates.size(), 6u);
}

TEST_F(PlanSearchTest, WhoRanSideBySideIsNotRunOnceMore) {
  ratios_[Plan::kDirect] = 0.49;
  EXPECT_EQ(Choose().plan, Plan::kDirect);
  EXPECT_THAT(tried_, SizeIs(5));
}

TEST_F(PlanSearchTest, AFastStartPutsTheSearchOff) {
  config_.fast_start = true;
  const PlanChoice first = Choose();
  EXPECT_EQ(first.plan, kDefaultPlan);
  EXPECT_TRUE(first.searching);
  EXPECT_THAT(tried_, IsEmpty());
  const auto found = SearchNow(first.key);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(found->plan, Plan::kGraph);
  EXPECT_FALSE(found->searching);
  const PlanChoice again = Choose();  // It is known by now.
  EXPECT_EQ(again.plan, Plan::kGraph);
  EXPECT_FALSE(again.searching);
}

TEST_F(PlanSearchTest, TheServerDecidesWhereTheModelDoesNotSay) {
  fast_start_ = true;
  EXPECT_TRUE(Choose().searching);
  config_.fast_start = false;
  EXPECT_EQ(Choose().plan, Plan::kGraph);
  config_.plan = Plan::kSaved;
  EXPECT_FALSE(Choose().searching);
}

TEST_F(PlanSearchTest, OnlyTheBytesThatServeAreTriedLater) {
  config_.fast_start = true;
  const PlanChoice first = Choose();
  repository_.Write("cat/1/model.pt", "other");
  EXPECT_EQ(SearchNow(first.key).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(tried_, IsEmpty());
}

TEST_F(PlanSearchTest, WhatNobodyWantsAnyMoreIsDroppedAndNotKept) {
  config_.fast_start = true;
  const std::string key = Choose().key;
  wanted_ = false;
  EXPECT_EQ(SearchNow(key).status().code(), absl::StatusCode::kCancelled);
  EXPECT_THAT(tried_, IsEmpty());
  EXPECT_TRUE(Choose().searching);
}

// A daemon that was stopped during a search kept that every plan had failed.
TEST_F(PlanSearchTest, WhatEndedWithTheHelperProcessIsTriedAtTheNextLoad) {
  died_ = true;
  EXPECT_EQ(Choose().plan, kDefaultPlan);
  died_ = false;
  EXPECT_EQ(Choose().plan, Plan::kGraph);
}

TEST_F(PlanSearchTest, WhatIsNotWorthASearchIsNotSearched) {
  EXPECT_EQ(Choose(microseconds(40)).plan, kDefaultPlan);
  budget_ = milliseconds(0);
  EXPECT_EQ(Choose().plan, kDefaultPlan);
  folder_.package_file = repository_.Path("cat/1/model.pt2");
  folder_.model_file.clear();
  budget_ = seconds(20);
  EXPECT_EQ(Choose().plan, Plan::kPackage);
  EXPECT_THAT(tried_, IsEmpty());
}

}  // namespace
}  // namespace torchd
