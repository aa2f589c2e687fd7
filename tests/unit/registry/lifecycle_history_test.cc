#include <algorithm>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/registry/lifecycle.h"

namespace torchd {
namespace {

using std::chrono::seconds;
using ::testing::IsEmpty;
using Kind = Action::Kind;

constexpr Instant kNow = Instant(seconds(1000));

VersionPolicy Latest(int count) { return {VersionPolicy::Kind::kLatest, count, {}}; }
VersionPolicy All() { return {VersionPolicy::Kind::kAll, 1, {}}; }
VersionPolicy Specific(std::vector<int64_t> versions) {
  return {VersionPolicy::Kind::kSpecific, 1, std::move(versions)};
}

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
    const std::set<int64_t> wanted = Wanted();
    bool all_serve = true, some_serve = wanted.empty();
    for (const int64_t version : wanted) {
      if (facts_.count(version) == 0) continue;
      const VersionFacts& facts = facts_.at(version);
      EXPECT_TRUE(facts.on_disk == 0 || facts.serving == facts.on_disk ||
                  facts.failed == facts.on_disk);
      all_serve = all_serve && facts.serving != 0;
      some_serve = some_serve || facts.serving != 0;
    }
    for (const auto& [version, facts] : facts_) {
      const bool left_over = all_serve && some_serve && wanted.count(version) == 0;
      EXPECT_FALSE(left_over && facts.serving != 0) << version << " is left over";
      const bool could = !wanted.empty() && version <= *wanted.rbegin() && facts.on_disk != 0;
      EXPECT_FALSE(Serving() == 0 && could && facts.failed != facts.on_disk)
          << version << " could serve, and nothing does";
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
