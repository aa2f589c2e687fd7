#include "server/registry/settling.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Seen {
  const char* model;
  int64_t version;
  uint64_t fingerprint;
};

// `about`: the fingerprint of what is said about each model.
RepositorySnapshot Snapshot(const std::vector<Seen>& versions, uint64_t about = 1) {
  RepositorySnapshot snapshot;
  for (const Seen& seen : versions) {
    ModelOnDisk& model = snapshot.models[seen.model];
    model.name = seen.model;
    model.fingerprint = about;
    model.policy.latest = static_cast<int>(about);
    VersionFolder& version = model.versions[seen.version];
    version.name = seen.model;
    version.version = seen.version;
    version.fingerprint = seen.fingerprint;
  }
  return snapshot;
}

// "model/version=fingerprint", in order.
std::vector<std::string> Text(const RepositorySnapshot& snapshot) {
  std::vector<std::string> text;
  for (const VersionFolder& version : AllVersions(snapshot)) {
    text.push_back(absl::StrCat(version.name, "/", version.version, "=", version.fingerprint));
  }
  return text;
}

class SettlingTest : public ::testing::Test {
 protected:
  std::vector<std::string> Filter(const std::vector<Seen>& versions) {
    return Text(settling_.Filter(Snapshot(versions), clock_.Now()));
  }
  // Seconds from now; -1: nothing waits.
  int64_t DueIn() {
    const Instant due = settling_.NextDueTime();
    if (due == kNever) return -1;
    return std::chrono::duration_cast<seconds>(due - clock_.Now()).count();
  }

  ManualClock clock_;
  Settling settling_{seconds(3)};
};

TEST_F(SettlingTest, AVersionIsThereOnceItHasStoodStill) {
  EXPECT_EQ(DueIn(), -1);
  EXPECT_THAT(Filter({{"cat", 1, 7}}), IsEmpty());
  EXPECT_EQ(DueIn(), 3);
  clock_.Advance(seconds(3) - Duration(1));
  EXPECT_THAT(Filter({{"cat", 1, 7}}), IsEmpty());
  clock_.Advance(Duration(1));
  EXPECT_THAT(Filter({{"cat", 1, 7}}), ElementsAre("cat/1=7"));
  EXPECT_EQ(DueIn(), -1);
}

TEST_F(SettlingTest, AGrowingVersionWaitsUntilItStopsGrowing) {
  settling_.Accept(Snapshot({{"cat", 9, 7}}));
  for (uint64_t fingerprint = 1; fingerprint <= 20; ++fingerprint) {
    EXPECT_THAT(Filter({{"cat", 1, fingerprint}, {"cat", 9, 7}}), ElementsAre("cat/9=7"));
    EXPECT_EQ(DueIn(), 3);
    clock_.Advance(seconds(2));
  }
  clock_.Advance(seconds(1));
  EXPECT_THAT(Filter({{"cat", 1, 20}, {"cat", 9, 7}}), ElementsAre("cat/1=20", "cat/9=7"));
}

TEST_F(SettlingTest, AVersionThatIsRewrittenKeepsItsOldEntryUntilThen) {
  settling_.Accept(Snapshot({{"cat", 1, 7}}));
  for (const uint64_t fingerprint : {8, 9, 10}) {
    EXPECT_THAT(Filter({{"cat", 1, fingerprint}}), ElementsAre("cat/1=7"));
    clock_.Advance(seconds(2));
  }
  EXPECT_EQ(DueIn(), 1);
  clock_.Advance(seconds(1));
  EXPECT_THAT(Filter({{"cat", 1, 10}}), ElementsAre("cat/1=10"));
}

TEST_F(SettlingTest, AChangeThatIsUndoneIsNone) {
  settling_.Accept(Snapshot({{"cat", 1, 7}}));
  EXPECT_THAT(Filter({{"cat", 1, 8}}), ElementsAre("cat/1=7"));
  EXPECT_EQ(DueIn(), 3);
  EXPECT_THAT(Filter({{"cat", 1, 7}}), ElementsAre("cat/1=7"));
  EXPECT_EQ(DueIn(), -1);
  clock_.Advance(seconds(60));
  EXPECT_THAT(Filter({{"cat", 1, 8}}), ElementsAre("cat/1=7"));  // Waits anew.
  EXPECT_EQ(DueIn(), 3);
}

// A folder that could not be read for a moment used to be unloaded.
TEST_F(SettlingTest, WhatIsGoneIsGoneOnceItHasStayedAway) {
  settling_.Accept(Snapshot({{"cat", 1, 7}, {"cat", 2, 7}, {"dog", 1, 7}}));
  EXPECT_THAT(Filter({{"cat", 2, 7}}), ElementsAre("cat/1=7", "cat/2=7", "dog/1=7"));
  EXPECT_EQ(DueIn(), 3);
  clock_.Advance(seconds(2));
  EXPECT_THAT(Filter({{"cat", 2, 7}, {"dog", 1, 7}}), ElementsAre("cat/1=7", "cat/2=7", "dog/1=7"));
  EXPECT_EQ(DueIn(), 1);  // The dog is back, as it was.
  clock_.Advance(seconds(1));
  EXPECT_THAT(Filter({{"cat", 2, 7}, {"dog", 1, 7}}), ElementsAre("cat/2=7", "dog/1=7"));
  EXPECT_EQ(DueIn(), -1);
  Filter({{"cat", 2, 7}});
  clock_.Advance(seconds(3));
  EXPECT_THAT(Filter({{"cat", 2, 7}}), ElementsAre("cat/2=7"));
  EXPECT_EQ(DueIn(), -1);
}

TEST_F(SettlingTest, WhatComesBackIsNew) {
  settling_.Accept(Snapshot({{"cat", 1, 7}, {"cat", 2, 7}}));
  Filter({{"cat", 2, 7}});
  clock_.Advance(seconds(3));
  EXPECT_THAT(Filter({{"cat", 2, 7}}), ElementsAre("cat/2=7"));
  EXPECT_THAT(Filter({{"cat", 1, 7}, {"cat", 2, 7}}), ElementsAre("cat/2=7"));
  EXPECT_EQ(DueIn(), 3);
  EXPECT_THAT(Filter({{"cat", 2, 7}}), ElementsAre("cat/2=7"));
  EXPECT_EQ(DueIn(), -1);  // Nobody waits for what is gone and never was.
  EXPECT_THAT(Filter({{"cat", 2, 7}, {"dog", 1, 1}}), ElementsAre("cat/2=7"));
  EXPECT_THAT(Filter({{"cat", 2, 7}}), ElementsAre("cat/2=7"));
  EXPECT_EQ(DueIn(), -1);
}

// Version 0: the folder cannot be read.
TEST_F(SettlingTest, VersionsStandUntilTheReasonWhyThereAreNoneHasSettled) {
  settling_.Accept(Snapshot({{"cat", 1, 7}, {"cat", 2, 8}}));
  EXPECT_THAT(Filter({{"cat", 0, 1}}), ElementsAre("cat/1=7", "cat/2=8"));
  clock_.Advance(seconds(2));
  EXPECT_THAT(Filter({{"cat", 0, 2}}), ElementsAre("cat/1=7", "cat/2=8"));  // Another reason.
  clock_.Advance(seconds(2));
  EXPECT_THAT(Filter({{"cat", 0, 2}}), ElementsAre("cat/1=7", "cat/2=8"));
  EXPECT_THAT(Filter({{"cat", 1, 7}, {"cat", 2, 8}}), ElementsAre("cat/1=7", "cat/2=8"));
  EXPECT_EQ(DueIn(), -1);
  EXPECT_THAT(Filter({{"cat", 0, 2}}), ElementsAre("cat/1=7", "cat/2=8"));
  clock_.Advance(seconds(3));
  EXPECT_THAT(Filter({{"cat", 0, 2}}), ElementsAre("cat/0=2"));
  EXPECT_EQ(DueIn(), -1);
}

TEST_F(SettlingTest, AcceptWaitsForNothing) {
  EXPECT_THAT(Filter({{"cat", 1, 7}}), IsEmpty());
  settling_.Accept(Snapshot({{"cat", 1, 7}, {"cat", 2, 7}}));
  EXPECT_EQ(DueIn(), -1);
  EXPECT_THAT(Filter({{"cat", 1, 7}, {"cat", 2, 7}}), ElementsAre("cat/1=7", "cat/2=7"));
}

TEST_F(SettlingTest, AcceptModelWaitsForThatModelNoMore) {
  settling_.Accept(Snapshot({{"cat", 1, 7}, {"cat", 2, 7}, {"dog", 1, 7}}));
  const std::vector<Seen> now = {{"cat", 1, 8}, {"cat", 3, 7}, {"dog", 1, 8}};
  Filter(now);
  settling_.AcceptModel("cat", Snapshot(now));
  EXPECT_THAT(Filter(now), ElementsAre("cat/1=8", "cat/3=7", "dog/1=7"));
  EXPECT_EQ(DueIn(), 3);  // The dog waits on.
  EXPECT_THAT(Filter({{"cat", 1, 9}, {"cat", 3, 7}, {"dog", 1, 7}}),
              ElementsAre("cat/1=8", "cat/3=7", "dog/1=7"));
  EXPECT_EQ(DueIn(), 3);  // What changes after that waits as ever.
}

TEST_F(SettlingTest, AcceptModelOfOneThatIsGoneForgetsIt) {
  settling_.Accept(Snapshot({{"cat", 1, 7}, {"dog", 1, 7}}));
  settling_.AcceptModel("cat", Snapshot({{"dog", 1, 7}}));
  EXPECT_THAT(Filter({{"cat", 1, 7}, {"dog", 1, 7}}), ElementsAre("dog/1=7"));  // As new.
}

TEST_F(SettlingTest, EachVersionWaitsForItself) {
  Filter({{"cat", 1, 7}});
  clock_.Advance(seconds(2));
  Filter({{"cat", 1, 7}, {"cat", 2, 7}});
  EXPECT_EQ(DueIn(), 1);
  clock_.Advance(seconds(1));
  EXPECT_THAT(Filter({{"cat", 1, 7}, {"cat", 2, 7}}), ElementsAre("cat/1=7"));
  EXPECT_EQ(DueIn(), 2);
  clock_.Advance(seconds(2));
  EXPECT_THAT(Filter({{"cat", 1, 7}, {"cat", 2, 7}}), ElementsAre("cat/1=7", "cat/2=7"));
}

// A half-written model.yaml could name another policy, and its versions would be unloaded.
TEST_F(SettlingTest, WhatIsSaidAboutAModelSettlesToo) {
  settling_.Accept(Snapshot({{"cat", 1, 7}}, 1));
  const auto latest = [&] {
    return settling_.Filter(Snapshot({{"cat", 1, 7}}, 2), clock_.Now()).models.at("cat").policy;
  };
  EXPECT_EQ(latest().latest, 1);
  EXPECT_EQ(DueIn(), 3);
  clock_.Advance(seconds(3));
  EXPECT_EQ(latest().latest, 2);
}

TEST_F(SettlingTest, TheReasonWhyThereIsNoVersionStandsUntilThereIsOne) {
  EXPECT_THAT(Filter({{"cat", 0, 5}}), IsEmpty());
  clock_.Advance(seconds(3));
  EXPECT_THAT(Filter({{"cat", 0, 5}}), ElementsAre("cat/0=5"));
  EXPECT_THAT(Filter({{"cat", 1, 7}}), ElementsAre("cat/0=5"));
  EXPECT_EQ(DueIn(), 3);
  clock_.Advance(seconds(3));
  EXPECT_THAT(Filter({{"cat", 1, 7}}), ElementsAre("cat/1=7"));
  EXPECT_EQ(DueIn(), -1);
  Filter({});
  clock_.Advance(seconds(3));
  EXPECT_THAT(Filter({}), IsEmpty());
}

TEST(SettlingWithoutTimeTest, EverythingIsThereAtOnce) {
  Settling settling(Duration(0));
  EXPECT_THAT(Text(settling.Filter(Snapshot({{"cat", 1, 7}}), Instant())), ElementsAre("cat/1=7"));
  EXPECT_EQ(settling.NextDueTime(), kNever);
}

}  // namespace
}  // namespace torchd
