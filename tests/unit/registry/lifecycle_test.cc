#include "server/registry/lifecycle.h"

#include <algorithm>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using Kind = Action::Kind;

constexpr Instant kNow = Instant(seconds(1000));

VersionPolicy Latest(int count) { return {VersionPolicy::Kind::kLatest, count, {}}; }
VersionPolicy All() { return {VersionPolicy::Kind::kAll, 1, {}}; }
VersionPolicy Specific(std::vector<int64_t> versions) {
  return {VersionPolicy::Kind::kSpecific, 1, std::move(versions)};
}

// --- What is wanted. ---

TEST(WantedVersionsTest, EachPolicyAsksForItsOwn) {
  const ModelFacts facts = {{1, {.on_disk = 5}},
                            {3, {.on_disk = 6}},
                            {7, {.on_disk = 7}},
                            {9, {.serving = 4}}};  // Serves, though it is gone from the disk.
  const struct {
    VersionPolicy policy;
    std::vector<int64_t> wanted;
  } cases[] = {
      {Latest(1), {7}},           {Latest(2), {3, 7}},
      {Latest(9), {1, 3, 7}},     {All(), {1, 3, 7}},
      {Specific({3}), {3}},       {Specific({7, 1}), {1, 7}},
      {Specific({2, 9}), {2, 9}}, {Specific({1, 2, 3}), {1, 2, 3}},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(WantedVersions(test.policy, facts), ElementsAreArray(test.wanted))
        << PolicyText(test.policy);
  }
}

TEST(WantedVersionsTest, NothingOnDiskIsNothingWanted) {
  for (const VersionPolicy& policy : {Latest(1), All(), Specific({1})}) {
    EXPECT_THAT(WantedVersions(policy, {}), IsEmpty());
    EXPECT_THAT(WantedVersions(policy, {{1, {.serving = 4}}}), IsEmpty());
  }
}

TEST(WantedVersionsTest, WhatStandsForTheWholeFolderIsWantedByAnyPolicy) {
  const ModelFacts facts = {{0, {.on_disk = 5}}, {1, {.serving = 4}}};
  for (const VersionPolicy& policy : {Latest(1), All(), Specific({1})}) {
    EXPECT_THAT(WantedVersions(policy, facts), ElementsAre(0));
  }
}

TEST(PolicyTextTest, SaysWhatIsAskedFor) {
  EXPECT_EQ(PolicyText(Latest(2)), "the latest 2");
  EXPECT_EQ(PolicyText(All()), "all");
  EXPECT_EQ(PolicyText(Specific({3, 5})), "3, 5");
}

// --- Labels. ---

TEST(PlaceLabelsTest, FollowsFromWhatServes) {
  const ModelFacts facts = {
      {1, {.on_disk = 5, .serving = 5}}, {2, {.on_disk = 6}}, {3, {.serving = 7}}};
  const struct {
    int64_t target, before, placed;
  } cases[] = {
      {1, 1, 1}, {2, 1, 1}, {2, 3, 3}, {9, 1, 1}, {3, 1, 3}, {2, 9, 2}, {9, 2, 9}, {2, 0, 2},
  };
  for (const auto& test : cases) {
    VersionLabels before;
    if (test.before > 0) before["stable"] = test.before;
    const VersionLabels placed = PlaceLabels({{"stable", test.target}}, before, facts);
    EXPECT_EQ(placed, (VersionLabels{{"stable", test.placed}}))
        << test.before << " to " << test.target;
  }
  EXPECT_THAT(PlaceLabels({}, {{"stable", 1}}, facts), IsEmpty());
}

TEST(AddLabelledTest, WantsTheTargetAndWhatItStandsInFor) {
  const ModelFacts facts = {
      {1, {.on_disk = 5, .serving = 5}}, {2, {.on_disk = 6}}, {3, {.serving = 7}}};
  const struct {
    int64_t target, placed;
    std::vector<int64_t> wanted;
  } cases[] = {
      {1, 1, {1}}, {2, 1, {1, 2}}, {2, 3, {2, 3}}, {9, 3, {3}}, {9, 9, {}}, {3, 3, {}},
  };
  for (const auto& test : cases) {
    std::set<int64_t> wanted;
    AddLabelled({{"stable", test.target}}, {{"stable", test.placed}}, facts, wanted);
    EXPECT_THAT(wanted, ElementsAreArray(test.wanted)) << test.placed << " to " << test.target;
  }
}

TEST(AddLabelledTest, NothingOfAModelThatIsGone) {
  for (const ModelFacts& facts :
       {ModelFacts{{1, {.serving = 5}}},
        ModelFacts{{0, {.on_disk = 6, .nothing_there = true}}, {1, {.serving = 5}}}}) {
    std::set<int64_t> wanted;
    AddLabelled({{"stable", 2}}, {{"stable", 1}}, facts, wanted);
    EXPECT_THAT(wanted, IsEmpty());
  }
}

// --- What comes next. ---

struct NextCase {
  const char* name;
  ModelFacts facts;
  std::set<int64_t> wanted;
  Kind kind = Kind::kNone;
  int64_t version = 0;
};

class NextActionTest : public ::testing::TestWithParam<NextCase> {};

TEST_P(NextActionTest, FollowsFromTheStates) {
  const NextCase& test = GetParam();
  const Action action = NextAction(test.facts, test.wanted, kNow);
  EXPECT_EQ(action.kind, test.kind);
  EXPECT_EQ(action.version, test.version);
}

constexpr Instant kLater = kNow + seconds(1);

INSTANTIATE_TEST_SUITE_P(
    All, NextActionTest,
    ::testing::Values(
        NextCase{"NothingThereNothingToDo", {}, {}},
        NextCase{"WantedLoads", {{1, {.on_disk = 5}}}, {1}, Kind::kLoad, 1},
        NextCase{"NotWantedStaysAway", {{1, {.on_disk = 5}}}, {}},
        NextCase{
            "HighestFirst", {{1, {.on_disk = 5}}, {2, {.on_disk = 6}}}, {1, 2}, Kind::kLoad, 2},
        NextCase{"ServingNeedsNothing", {{1, {.on_disk = 5, .serving = 5}}}, {1}},
        NextCase{"NothingWhileLoading",
                 {{1, {.on_disk = 5, .serving = 5}}, {2, {.loading = true, .on_disk = 6}}},
                 {2}},
        NextCase{"NoSecondLoadWhileLoading",
                 {{1, {.on_disk = 5}}, {2, {.loading = true, .on_disk = 6}}},
                 {1, 2}},
        NextCase{"NewcomerLoadsBeforeTheOldGoes",
                 {{1, {.on_disk = 5, .serving = 5}}, {2, {.on_disk = 6}}},
                 {2},
                 Kind::kLoad,
                 2},
        NextCase{"OldGoesOnceTheNewcomerServes",
                 {{1, {.on_disk = 5, .serving = 5}}, {2, {.on_disk = 6, .serving = 6}}},
                 {2},
                 Kind::kUnload,
                 1},
        NextCase{"OldStaysUntilAllWantedServe",
                 {{1, {.on_disk = 5, .serving = 5}},
                  {2, {.on_disk = 6, .serving = 6}},
                  {3, {.on_disk = 7, .failed = 7}}},
                 {2, 3}},
        NextCase{"FailingNewcomerLeavesTheOld",
                 {{1, {.on_disk = 5, .serving = 5}}, {2, {.on_disk = 6, .failed = 6}}},
                 {2}},
        NextCase{"FailingNewcomerLeavesTheOldWhoseFilesAreGone",
                 {{1, {.serving = 5}}, {2, {.on_disk = 6, .failed = 6}}},
                 {2}},
        NextCase{"FolderThatCannotBeReadLeavesWhatServes",
                 {{0, {.on_disk = 6, .failed = 6}}, {1, {.serving = 5}}},
                 {0}},
        NextCase{"FolderThatHoldsNothingDoesNot",
                 {{0, {.on_disk = 6, .failed = 6, .nothing_there = true}}, {1, {.serving = 5}}},
                 {0},
                 Kind::kUnload,
                 1},
        NextCase{"ChangedFilesReload", {{1, {.on_disk = 6, .serving = 5}}}, {1}, Kind::kLoad, 1},
        NextCase{"ChangedFilesOfWhatIsNotWantedDoNot",
                 {{1, {.on_disk = 8, .serving = 5}},
                  {2, {.on_disk = 6, .serving = 6}},
                  {3, {.on_disk = 7, .failed = 7}}},
                 {2, 3}},
        NextCase{"ListedVersionThatIsNotThereYetLeavesWhatServes",
                 {{1, {.on_disk = 5, .serving = 5}}},
                 {2}},
        NextCase{"OneListedVersionThatServesIsEnough",
                 {{1, {.on_disk = 5, .serving = 5}}, {2, {.on_disk = 6, .serving = 6}}},
                 {2, 3},
                 Kind::kUnload,
                 1},
        NextCase{"WhatFailsHasTheNextLowerOneStandIn",
                 {{1, {.on_disk = 5}},
                  {2, {.on_disk = 6}},
                  {3, {.on_disk = 7, .failed = 7}},
                  {4, {.on_disk = 8, .failed = 8}}},
                 {4},
                 Kind::kLoad,
                 2},
        NextCase{
            "WhatIsNotThereYetHasALowerOneStandIn", {{1, {.on_disk = 5}}}, {2}, Kind::kLoad, 1},
        NextCase{"NoneHigherStandsIn", {{3, {.on_disk = 5}}}, {2}},
        NextCase{"NoneStandsInBesideAWantedOneThatServes",
                 {{1, {.on_disk = 5}},
                  {2, {.on_disk = 6, .serving = 6}},
                  {3, {.on_disk = 7, .failed = 7}}},
                 {2, 3}},
        NextCase{"NoneStandsInWhileAWantedOneIsDue",
                 {{1, {.on_disk = 5}}, {2, {.on_disk = 6}}, {3, {.on_disk = 7, .failed = 7}}},
                 {2, 3},
                 Kind::kLoad,
                 2},
        NextCase{"OneStandsInForWhatWaits",
                 {{1, {.on_disk = 5}},
                  {2, {.on_disk = 6, .failed = 6, .transient = true, .not_before = kLater}}},
                 {2},
                 Kind::kLoad,
                 1},
        NextCase{"WhatServesStandsInThoughAHigherOneMightLoad",
                 {{1, {.on_disk = 5, .serving = 5}},
                  {2, {.on_disk = 6}},
                  {3, {.on_disk = 7, .failed = 7}}},
                 {3}},
        NextCase{"ChangedFilesOfAStandInReload",
                 {{1, {.on_disk = 8, .serving = 5}}, {2, {.on_disk = 6, .failed = 6}}},
                 {2},
                 Kind::kLoad,
                 1},
        NextCase{"WhatServesAboveTheWantedOnesStaysAndNoneStandsIn",
                 {{1, {.on_disk = 5}},
                  {2, {.on_disk = 6, .failed = 6}},
                  {4, {.on_disk = 7, .serving = 7}}},
                 {2}},
        NextCase{"TheMendedOneTakesOver",
                 {{1, {.on_disk = 5, .serving = 5}}, {2, {.on_disk = 7, .failed = 6}}},
                 {2},
                 Kind::kLoad,
                 2},
        NextCase{
            "ChangedFilesThatFailedStayOut", {{1, {.on_disk = 6, .serving = 5, .failed = 6}}}, {1}},
        NextCase{"ChangedBackToWhatServesNeedsNothing",
                 {{1, {.on_disk = 5, .serving = 5, .failed = 6}}},
                 {1}},
        NextCase{"MendedFilesLoadOnceTheirTimeComes",
                 {{1, {.on_disk = 7, .failed = 6, .not_before = kNow}}},
                 {1},
                 Kind::kLoad,
                 1},
        NextCase{"MendedFilesWaitForTheirTime",
                 {{1, {.on_disk = 7, .failed = 6, .not_before = kLater}}},
                 {1}},
        NextCase{"FailedForGoodIsNotTriedAgain",
                 {{1, {.on_disk = 6, .failed = 6, .not_before = kNow - seconds(99)}}},
                 {1}},
        NextCase{"TransientFailureWaits",
                 {{1, {.on_disk = 6, .failed = 6, .transient = true, .not_before = kLater}}},
                 {1}},
        NextCase{"TransientFailureIsTriedAgain",
                 {{1, {.on_disk = 6, .failed = 6, .transient = true, .not_before = kNow}}},
                 {1},
                 Kind::kLoad,
                 1},
        NextCase{"OneThatWaitsHoldsUpNobodyElse",
                 {{1, {.on_disk = 5}},
                  {2, {.on_disk = 6, .failed = 6, .transient = true, .not_before = kLater}}},
                 {1, 2},
                 Kind::kLoad,
                 1},
        NextCase{"NothingWantedUnloadsAll",
                 {{1, {.serving = 5}}, {2, {.on_disk = 6, .serving = 6}}},
                 {},
                 Kind::kUnload,
                 1},
        NextCase{"WhatFailedNeedsNoUnload", {{1, {.failed = 5}}}, {}}),
    [](const auto& test) { return test.param.name; });

TEST(StandInTest, IsWhatServesElseTheHighestThatLoads) {
  const VersionFacts broken = {.on_disk = 7, .failed = 7};
  const VersionFacts serving = {.on_disk = 5, .serving = 5};
  const struct {
    ModelFacts facts;
    std::set<int64_t> wanted;
    int64_t stand_in;
  } cases[] = {
      {{{1, serving}, {2, broken}}, {2}, 1},
      {{{1, serving}, {2, broken}, {3, broken}}, {2, 3}, 1},
      {{{1, serving}, {2, broken}, {3, {.on_disk = 6}}}, {2, 3}, 0},
      {{{1, serving}, {2, {.loading = true, .on_disk = 6}}}, {2}, 0},
      {{{1, {.loading = true, .on_disk = 6}}, {2, broken}}, {2}, 1},
      {{{1, broken}, {2, broken}}, {2}, 0},
      {{{1, {.on_disk = 6}}, {2, {.on_disk = 6}}, {3, broken}}, {3}, 2},
      {{{1, serving}, {2, {.on_disk = 6}}, {3, broken}}, {3}, 1},
      {{{1, {.on_disk = 6}}, {2, broken}, {3, serving}}, {2}, 0},
      {{{0, broken}, {1, {.serving = 5}}}, {0}, 0},
      {{{1, serving}}, {}, 0},
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    EXPECT_EQ(StandIn(cases[i].facts, cases[i].wanted, kNow), cases[i].stand_in) << i;
  }
}

// --- When to look again. ---

TEST(NextRetryTest, IsTheEarliestOfWhatWaits) {
  const ModelFacts facts = {
      {1, {.on_disk = 5, .failed = 5, .transient = true, .not_before = kNow + seconds(9)}},
      {2, {.on_disk = 6, .failed = 5, .not_before = kNow + seconds(4)}},
      {3, {.on_disk = 7, .failed = 7, .not_before = kNow + seconds(1)}},  // For good.
      {4, {.on_disk = 8, .failed = 7, .not_before = kNow + seconds(2)}},  // Not wanted.
      {5, {.on_disk = 8, .failed = 7, .not_before = kNow}},               // Due already.
  };
  EXPECT_EQ(NextRetry(facts, {1, 2, 3, 5}, kNow), kNow + seconds(4));
  EXPECT_EQ(NextRetry(facts, {1}, kNow), kNow + seconds(9));
  EXPECT_EQ(NextRetry(facts, {0}, kNow), kNever);
  EXPECT_EQ(NextRetry(facts, {}, kNow), kNever);
  EXPECT_EQ(NextRetry(facts, {7}, kNow), kNow + seconds(2));  // 4 may stand in, then.
}

TEST(RetryDelayTest, DoublesFromASecondToAMinute) {
  std::vector<Duration> delays;
  for (const int failures : {0, 1, 2, 3, 4, 5, 6, 7, 8, 1'000'000'000}) {
    delays.push_back(RetryDelay(failures));
  }
  EXPECT_THAT(delays, ElementsAre(seconds(1), seconds(1), seconds(2), seconds(4), seconds(8),
                                  seconds(16), seconds(32), seconds(60), seconds(60), seconds(60)));
}

TEST(VersionStateTest, Names) {
  EXPECT_STREQ(Name(VersionState::kUnknown), "UNKNOWN");
  EXPECT_STREQ(Name(VersionState::kLoading), "LOADING");
  EXPECT_STREQ(Name(VersionState::kReady), "READY");
  EXPECT_STREQ(Name(VersionState::kUnloading), "UNLOADING");
  EXPECT_STREQ(Name(VersionState::kUnavailable), "UNAVAILABLE");
}

}  // namespace
}  // namespace torchd
