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
      {Latest(1), {7}},       {Latest(2), {3, 7}},           {Latest(9), {1, 3, 7}},
      {All(), {1, 3, 7}},     {Specific({3}), {3}},          {Specific({7, 1}), {1, 7}},
      {Specific({2, 9}), {}}, {Specific({1, 2, 3}), {1, 3}},
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

TEST(PolicyTextTest, SaysWhatIsAskedFor) {
  EXPECT_EQ(PolicyText(Latest(2)), "the latest 2");
  EXPECT_EQ(PolicyText(All()), "all");
  EXPECT_EQ(PolicyText(Specific({3, 5})), "3, 5");
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
        NextCase{"ChangedFilesReload", {{1, {.on_disk = 6, .serving = 5}}}, {1}, Kind::kLoad, 1},
        NextCase{"ChangedFilesOfWhatIsNotWantedDoNot",
                 {{1, {.on_disk = 8, .serving = 5}}, {2, {.on_disk = 6, .failed = 6}}},
                 {2}},
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
  EXPECT_EQ(NextRetry(facts, {1, 3}, kNow), kNow + seconds(9));
  EXPECT_EQ(NextRetry(facts, {3, 5}, kNow), kNever);
  EXPECT_EQ(NextRetry(facts, {}, kNow), kNever);
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

// --- Whatever happens. ---

// One model that lives through random events as the registry would have it, and complains when
// NextAction() asks for what it must not.
class History {
 public:
  explicit History(uint32_t seed) : random_(seed) {
    const VersionPolicy policies[] = {Latest(1), Latest(2), All(), Specific({2, 4})};
    policy_ = policies[Below(4)];
  }

  void HappenSomething() {
    const auto version = static_cast<int64_t>(1 + Below(5));
    switch (Below(8)) {
      case 0:
      case 1:
        facts_[version].on_disk = ++fingerprints_;  // Appears, or changes.
        break;
      case 2:
        if (facts_.count(version) > 0) facts_[version].on_disk = 0;
        break;
      case 3:
        now_ += seconds(Below(10));
        break;
      case 4:
        Finish(Below(2) == 0, Below(2) == 0);
        break;
      default:
        Act();
    }
    DropAbsent();
  }

  // Nothing changes any more; transient failures pass.
  void Settle() {
    for (int steps = 0; steps < 100; ++steps) {
      if (Loading() != facts_.end()) {
        Finish(Below(2) == 0, /*transient=*/false);
      } else if (!Act()) {
        const Instant retry = NextRetry(facts_, Wanted(), now_);
        if (retry == kNever) return CheckSettled();
        ASSERT_GT(retry, now_);
        now_ = retry;
      }
      DropAbsent();
    }
    ADD_FAILURE() << "does not settle";
  }

 private:
  size_t Below(size_t end) { return random_() % end; }

  std::set<int64_t> Wanted() const { return WantedVersions(policy_, facts_); }

  ModelFacts::iterator Loading() {
    return std::find_if(facts_.begin(), facts_.end(),
                        [](const auto& entry) { return entry.second.loading; });
  }

  size_t Serving() const {
    return std::count_if(facts_.begin(), facts_.end(),
                         [](const auto& entry) { return entry.second.serving != 0; });
  }

  bool Act() {
    const Action action = NextAction(facts_, Wanted(), now_);
    if (action.kind == Kind::kNone) return false;
    VersionFacts& facts = facts_.at(action.version);
    if (action.kind == Kind::kLoad) {
      EXPECT_EQ(Loading(), facts_.end()) << "a second load";
      EXPECT_EQ(failed_for_good_.count({action.version, facts.on_disk}), 0u) << "the same again";
      EXPECT_TRUE(facts.failed == 0 || now_ >= facts.not_before) << "before its time";
      EXPECT_NE(facts.on_disk, facts.serving);
      facts.loading = true;
      loads_ = facts.on_disk;
      return true;
    }
    EXPECT_NE(facts.serving, 0u);
    facts.serving = 0;
    EXPECT_TRUE(Wanted().empty() || Serving() > 0) << "serves nothing";
    return true;
  }

  void Finish(bool good, bool transient) {
    const auto at = Loading();
    if (at == facts_.end()) return;
    VersionFacts& facts = at->second;
    facts.loading = false;
    if (good) {
      facts.serving = loads_;
      facts.failed = 0;
      failures_[at->first] = 0;
      return;
    }
    facts.failed = loads_;
    facts.transient = transient;
    facts.not_before = now_ + RetryDelay(++failures_[at->first]);
    if (!transient) failed_for_good_.insert({at->first, loads_});
  }

  void DropAbsent() {
    for (auto at = facts_.begin(); at != facts_.end();) {
      const VersionFacts& facts = at->second;
      const bool absent = facts.on_disk == 0 && facts.serving == 0 && !facts.loading;
      at = absent ? facts_.erase(at) : std::next(at);
    }
  }

  void CheckSettled() {
    bool all_serve = true;
    for (const int64_t version : Wanted()) {
      const VersionFacts& facts = facts_.at(version);
      EXPECT_TRUE(facts.serving == facts.on_disk || facts.failed == facts.on_disk);
      all_serve = all_serve && facts.serving != 0;
    }
    for (const auto& [version, facts] : facts_) {
      const bool wanted = Wanted().count(version) > 0;
      EXPECT_FALSE(all_serve && !wanted && facts.serving != 0) << version << " is left over";
    }
  }

  std::mt19937 random_;
  VersionPolicy policy_;
  Instant now_ = kNow;
  ModelFacts facts_;
  uint64_t fingerprints_ = 0;  // Each is used once.
  uint64_t loads_ = 0;         // Of the files that are being loaded.
  std::map<int64_t, int> failures_;
  std::set<std::pair<int64_t, uint64_t>> failed_for_good_;
};

TEST(HistoryTest, RandomHistoriesNeverBreakAPromise) {
  for (uint32_t seed = 1; seed <= 500 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    History history(seed);
    for (int quiet = 0; quiet < 4; ++quiet) {
      for (int events = 0; events < 60; ++events) history.HappenSomething();
      history.Settle();
    }
  }
}

}  // namespace
}  // namespace torchd
