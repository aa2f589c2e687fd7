// Random arrivals through the pure scheduler: whatever comes, the rules of script_rules.cc hold.
#include "gtest/gtest.h"
#include "tests/unit/batching/script_world.h"
#include "tests/unit/fakes/fake_model.h"

namespace torchd {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kScripts = 4'000;
#else
constexpr uint64_t kScripts = 100'000;
#endif

template <typename MakeScript>
ScriptWorld::Fates Replay(uint64_t scripts, const MakeScript& make) {
  FakeModel model(EchoSignature(-1));
  ScriptWorld::Fates all;
  int broken = 0;
  for (uint64_t seed = 1; seed <= scripts && broken < 5; ++seed) {
    const Script script = make(seed);
    ScriptWorld world(script, model);
    const std::string rule = world.Run();
    EXPECT_EQ(rule, "") << "seed " << seed;
    broken += rule.empty() ? 0 : 1;
    all.ran += world.fates().ran;
    all.refused += world.fates().refused;
    all.dropped += world.fates().dropped;
    all.runs += world.fates().runs;
    all.held += world.fates().held;
    all.with_deadline += world.fates().with_deadline;
    all.late += world.fates().late;
    all.tried += world.fates().tried;
  }
  return all;
}

TEST(SchedulerScriptsTest, AnyArrivalsKeepTheRules) {
  const ScriptWorld::Fates fates = Replay(kScripts, RandomScript);
  // The scripts must reach all that the rules are about.
  EXPECT_GT(fates.ran, static_cast<int64_t>(10 * kScripts));
  EXPECT_GT(fates.ran, fates.runs + fates.runs / 5);
  EXPECT_GT(fates.refused, static_cast<int64_t>(kScripts));
  EXPECT_GT(fates.dropped, static_cast<int64_t>(kScripts));
  EXPECT_GT(fates.held, static_cast<int64_t>(kScripts) / 2);
  EXPECT_GT(fates.with_deadline, static_cast<int64_t>(kScripts));
  EXPECT_LE(fates.late, fates.with_deadline / 1000);
  EXPECT_LE(fates.tried, fates.with_deadline / 50);
}

TEST(SchedulerScriptsTest, AnAdmittedRowWaitsNoLongerThanTwoRuns) {
  const ScriptWorld::Fates fates = Replay(kScripts / 4, PlainScript);
  EXPECT_GT(fates.ran, static_cast<int64_t>(5 * kScripts / 4));
}

}  // namespace
}  // namespace torchd
