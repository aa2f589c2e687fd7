#include "server/daemon/plan_search.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/clock.h"
#include "tests/unit/fakes/temp_folder.h"

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

class PlanSearchTest : public ::testing::Test {
 protected:
  PlanSearchTest() {
    repository_.Write("cat/1/model.pt", "one");
    folder_.name = "cat";
    folder_.version = 1;
    folder_.model_file = repository_.Path("cat/1/model.pt");
  }

  PlanChoice Choose(Duration run = milliseconds(10)) {
    return Search().Choose(folder_, config_, run);
  }

  absl::StatusOr<PlanChoice> SearchNow(const std::string& key) {
    return Search().SearchNow(folder_, config_, key, [this] { return wanted_; });
  }

  PlanSearch Search() {
    return PlanSearch(
        {budget_, fast_start_, threads_}, PlanCache(repository_.Path("cache"), machine_),
        [this](const VersionFolder&, const std::vector<TeamedPlan>& plans, milliseconds limit,
               const PlanSearch::Wanted&) { return Try(plans, limit); },
        clock_);
  }

  absl::StatusOr<std::vector<PlanCandidate>> Try(const std::vector<TeamedPlan>& plans,
                                                 milliseconds limit) {
    limits_.push_back(limit);
    if (died_) return absl::UnavailableError("the helper process died");
    std::vector<PlanCandidate> candidates = {Timed(kDefaultPlan, 1)};
    for (const TeamedPlan teamed : plans) {
      const Plan plan = teamed.plan;
      if (teamed.threads > 0) {
        tried_.push_back(absl::StrCat(Name(plan), " on ", teamed.threads));
        if (fewer_.count(teamed.threads) == 0) return absl::InternalError("it crashed");
        candidates.push_back(Timed(plan, fewer_[teamed.threads]));
        candidates.back().threads = teamed.threads;
        continue;
      }
      tried_.push_back(Name(plan));
      const auto ratio = ratios_.find(plan);
      if (ratio == ratios_.end()) return absl::InternalError("it crashed");
      const bool again = std::count(tried_.begin(), tried_.end(), Name(plan)) > 1;
      candidates.push_back(
          Timed(plan, again && again_.count(plan) > 0 ? again_[plan] : ratio->second));
    }
    clock_.Advance(std::min(takes_, limit));
    if (takes_ > limit) return absl::DeadlineExceededError("it took too long");
    return candidates;
  }

  static PlanCandidate Timed(Plan plan, double ratio) {
    PlanCandidate candidate;
    candidate.plan = plan;
    candidate.state = State::kTimed;
    candidate.ratio = ratio;
    candidate.run = microseconds(static_cast<int64_t>(10'000 * ratio));
    return candidate;
  }

  static const PlanCandidate& Of(const PlanChoice& choice, Plan plan) {
    return *std::find_if(choice.candidates.begin(), choice.candidates.end(),
                         [plan](const PlanCandidate& candidate) { return candidate.plan == plan; });
  }

  TempFolder repository_;
  ManualClock clock_;
  VersionFolder folder_;
  ModelConfig config_;
  milliseconds budget_ = seconds(20);
  bool fast_start_ = false;
  bool wanted_ = true;
  bool died_ = false;
  milliseconds takes_ = seconds(2);
  std::string machine_ = "threads 2, LibTorch 2.11.0, a CPU";
  std::map<Plan, double> ratios_ = {{Plan::kGraph, 0.5},  {Plan::kDirect, 1.2},
                                    {Plan::kOneDnn, 0.8}, {Plan::kChannelsLast, 0.9},
                                    {Plan::kSaved, 1.3},  {Plan::kPackage, 0.4}};
  int threads_ = 1;
  std::map<int, double> fewer_;   // On fewer threads.
  std::map<Plan, double> again_;  // Those tried for the second time.
  std::vector<std::string> tried_;
  std::vector<milliseconds> limits_;
};

TEST_F(PlanSearchTest, TheFastestServesAndAllAreReported) {
  const PlanChoice choice = Choose();
  EXPECT_EQ(choice.plan, Plan::kGraph);
  EXPECT_EQ(choice.why, "the fastest of 6 timed");
  EXPECT_EQ(choice.candidates.size(), 6u);
  EXPECT_THAT(tried_, ElementsAre("direct", "graph", "onednn", "channels_last", "saved"));
  EXPECT_THAT(limits_, ElementsAre(seconds(20), milliseconds(12'600),
                                   seconds(16)));  // What is left of the budget.
}

TEST_F(PlanSearchTest, WhoCrashesTakesNobodyAlong) {
  ratios_.erase(Plan::kChannelsLast);
  ratios_.erase(Plan::kGraph);
  const PlanChoice choice = Choose();
  EXPECT_THAT(tried_, ElementsAre("direct", "graph", "onednn",
                                  "channels_last",  // Together; then each alone.
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

TEST_F(PlanSearchTest, WhatABusyMachineLeftIsTriedAtTheNextLoad) {
  takes_ = seconds(15);
  const PlanChoice choice = Choose();
  EXPECT_EQ(choice.plan, kDefaultPlan);
  EXPECT_EQ(Of(choice, Plan::kDirect).state, State::kTimed);
  EXPECT_EQ(Of(choice, Plan::kGraph).state, State::kUntried);
  takes_ = seconds(2);
  EXPECT_EQ(Choose().plan, Plan::kGraph);
}

TEST_F(PlanSearchTest, WhoHadMuchTimeIsNotWaitedForAgain) {
  takes_ = seconds(21);
  const PlanChoice choice = Choose();
  EXPECT_EQ(choice.plan, kDefaultPlan);
  EXPECT_EQ(Of(choice, Plan::kDirect).state, State::kFailed);
  EXPECT_EQ(Of(choice, Plan::kGraph).state, State::kUntried);
  EXPECT_THAT(Of(choice, Plan::kGraph).reason, HasSubstr("20000 ms were over"));
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
  const std::string path = repository_.Path("cache/" + DigestOf(folder_.model_file) + ".plans");
  ASSERT_TRUE(std::ifstream(path).is_open()) << path;
  for (const char* const record :
       {"", "torchd plans 2\n", "torchd plans 1\nthreads 2, LibTorch 2.11.0, a CPU\nnonsense\n",
        "torchd plans 3\nthreads 2, LibTorch 2.11.0, a CPU\ngraph 0 timed 5 nan 0 \n"}) {
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
              ElementsAre("direct", "package", "graph", "onednn", "channels_last", "saved"));
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
  ratios_[Plan::kDirect] = 0.52;
  ratios_[Plan::kGraph] = 0.5;
  again_ = {{Plan::kDirect, 0.49}, {Plan::kGraph, 0.51}};
  const PlanChoice choice = Choose();
  EXPECT_THAT(tried_, ElementsAre("direct", "graph", "onednn", "channels_last", "saved",  // Then:
                                  "graph", "direct"));
  EXPECT_EQ(choice.plan, Plan::kDirect);
  EXPECT_EQ(Of(choice, Plan::kGraph).ratio, 0.51);
  EXPECT_EQ(choice.candidates.size(), 6u);
}

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
  budget_ = milliseconds(6'300);  // Three groups take two seconds each.
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
  EXPECT_THAT(tried_, ElementsAre("direct", "bf16", "fp16", "int8", "graph", "onednn",
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
