#include <atomic>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/registry/registry_fixture.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// What a model's owner says of its versions: policy and labels, and how they change.
class RegistryRulesTest : public RegistryFixture {
 protected:
  void Say(const std::string& yaml) const { repository_.Write("cat/model.yaml", yaml); }
  int64_t Stable() { return VersionServed("cat", {.label = "stable"}); }
};

// --- Labels that move. ---

// A label used to lead to its new version at once, and its callers failed until that served.
TEST_F(RegistryRulesTest, ALabelMovesOnceItsNewVersionServes) {
  for (const char* folder : {"cat/1", "cat/3"}) Add(folder);
  Add("cat/2", "new");
  Say("version_labels: {stable: 1}\n");
  ShowAndSettle();
  on_load_ = [&](const std::string& contents) {
    if (contents != "new") return;
    EXPECT_EQ(Stable(), 1);
    EXPECT_THAT(StatusOf("cat", 1).labels, ElementsAre("stable"));
    EXPECT_THAT(StatusOf("cat", 1).notes,
                ElementsAre("version_labels: stable leads to version 1 until version 2 serves"));
  };
  Say("version_labels: {stable: 2}\n");
  Show();
  EXPECT_GT(Stable(), 0);
  Settle("cat");
  EXPECT_EQ(Stable(), 2);
  EXPECT_EQ(Reason("cat", 1), "unloaded");
  EXPECT_THAT(StatusOf("cat", 2).labels, ElementsAre("stable"));
  EXPECT_THAT(StatusOf("cat", 2).notes, ::testing::IsEmpty());
  EXPECT_EQ(VersionServed("cat"), 3);
}

TEST_F(RegistryRulesTest, ALabelStaysWhereItWasWhileItsNewVersionFailsOrIsNotThere) {
  for (const char* folder : {"cat/1", "cat/3"}) Add(folder);
  Add("cat/2", "broken");
  Say("version_labels: {stable: 1}\n");
  ShowAndSettle();
  for (const int target : {2, 9}) {
    Say(absl::StrCat("version_labels: {stable: ", target, "}\n"));
    ShowAndSettle();
    EXPECT_EQ(Stable(), 1);
    EXPECT_THAT(StatusOf("cat", 1).notes,
                ElementsAre(HasSubstr(absl::StrCat("until version ", target, " serves"))));
  }
  EXPECT_THAT(StatusOf("cat", 1).notes, ElementsAre(HasSubstr("which is not there")));
  Remove("cat/1");  // Callers count for more than files.
  ShowAndSettle();
  EXPECT_EQ(Stable(), 1);
  Add("cat/9");
  ShowAndSettle();
  EXPECT_EQ(Stable(), 9);
  EXPECT_EQ(StatusOf("cat", 1).name, "");
}

// A canary answered those who had not asked for it.
TEST_F(RegistryRulesTest, ALabelledVersionIsNotWhatCallersGetWithoutTheLabel) {
  Add("cat/1");
  Add("cat/2");
  Say("versions: {specific: [1]}\nversion_labels: {canary: 2}\n");
  ShowAndSettle();
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_EQ(VersionServed("cat", {.label = "canary"}), 2);
}

TEST_F(RegistryRulesTest, ALabelThatIsTakenBackIsGone) {
  Add("cat/1");
  Add("cat/2");
  Say("version_labels: {stable: 1}\n");
  ShowAndSettle();
  Say("version_labels: {}\n");
  ShowAndSettle();
  EXPECT_EQ(LookupError("cat", {.label = "stable"}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Reason("cat", 1), "unloaded");
}

TEST_F(RegistryRulesTest, NoCallerOfALabelFailsWhileItMoves) {
  Add("cat/1");
  Add("cat/2");
  Add("cat/3");
  Say("version_labels: {stable: 1}\n");
  ShowAndSettle();
  std::atomic<bool> stopping{false};
  std::thread caller([&] {
    while (!stopping) EXPECT_TRUE(registry().Lookup("cat", {.label = "stable"}).ok());
  });
  for (int i = 0; i < 20; ++i) {
    Say(absl::StrCat("version_labels: {stable: ", 1 + i % 2, "}\n#", std::string(i, '.'), "\n"));
    ShowAndSettle();
  }
  stopping = true;
  caller.join();
}

// --- A configuration that cannot be read. ---

// A typo used to mean the default policy and no labels: good versions were unloaded.
TEST_F(RegistryRulesTest, AMistakeLeavesPolicyAndLabelsAsTheyWere) {
  const struct {
    const char *file, *good, *bad;
  } cases[] = {
      {"cat/model.yaml", "versions: {all: true}\nversion_labels: {stable: 1}\n",
       "versions: {all: treu}\nversion_labels: {stable: 1}\n"},
      {"cat/config.pbtxt", "version_policy: { all: { } }\n",
       "version_policy: { latest: { num_versions: 0 } }\n"},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(test.file);
    for (const char* folder : {"cat/1", "cat/2", "cat/3"}) Add(folder);
    repository_.Write(test.file, test.good);
    ShowAndSettle();
    const bool labelled = !StatusOf("cat", 1).labels.empty();
    repository_.Write(test.file, test.bad);
    ShowAndSettle();
    for (const int64_t version : {1, 2, 3}) {
      EXPECT_EQ(VersionServed("cat", {.version = version}), version);
      EXPECT_THAT(Reason("cat", version),
                  AllOf(HasSubstr("its changed files do not load"), HasSubstr(test.file)));
    }
    if (labelled) {
      EXPECT_EQ(VersionServed("cat", {.label = "stable"}), 1);
    }
    Remove("cat");
    ShowAndSettle();
  }
}

TEST_F(RegistryRulesTest, AMendedMistakeCountsAtOnce) {
  Add("cat/1");
  Add("cat/2");
  Say("versions: {all: true}\n");
  ShowAndSettle();
  Say("versions: all\n");
  ShowAndSettle();
  Say("versions: {latest: 1}\n");
  Show();
  clock_.Advance(std::chrono::seconds(1));  // The pause after the failure.
  registry().Tick();
  Settle("cat");
  EXPECT_EQ(VersionServed("cat"), 2);
  EXPECT_EQ(Reason("cat", 2), "");
  EXPECT_EQ(State("cat", 1), VersionState::kUnavailable);
}

// The reason used to stand on, though what is there is what serves.
TEST_F(RegistryRulesTest, AnUndoneMistakeLeavesNoReason) {
  Add("cat/1");
  const RepositorySnapshot good = Scan(repository_);
  registry().SetRepository(good);
  Settle("cat");
  Say("versions: all\n");
  ShowAndSettle();
  EXPECT_THAT(Reason("cat", 1), HasSubstr("cat/model.yaml"));
  registry().SetRepository(good);
  Settle("cat");
  EXPECT_EQ(Reason("cat", 1), "");
  EXPECT_THAT(Loads(), ElementsAre("good"));
}

// --- What stands in. ---

// After a restart nothing served while the newest version was broken or half-copied.
TEST_F(RegistryRulesTest, ALowerVersionStandsInForOneThatFails) {
  Add("cat/1");
  Add("cat/2", "lower");
  Add("cat/3", "broken");
  Add("cat/4", "broken");
  ShowAndSettle();
  EXPECT_EQ(VersionServed("cat"), 2);
  EXPECT_THAT(StatusOf("cat", 4).notes,
              ElementsAre("version 2 stands in for version 4, which does not serve"));
  EXPECT_EQ(Reason("cat", 4), "LibTorch rejects it");
  EXPECT_EQ(State("cat", 1), VersionState::kUnknown);
  Add("cat/4", "mended");
  Show();
  clock_.Advance(std::chrono::seconds(1));
  registry().Tick();
  Settle("cat");
  EXPECT_EQ(VersionServed("cat"), 4);
  EXPECT_EQ(Reason("cat", 2), "unloaded");
  EXPECT_THAT(StatusOf("cat", 4).notes, ::testing::IsEmpty());
}

// Written before its folder was there, it used to unload what served at once.
TEST_F(RegistryRulesTest, AListedVersionThatIsNotThereYetLeavesWhatServes) {
  Add("cat/1");
  ShowAndSettle();
  Say("versions: {specific: [2]}\n");
  ShowAndSettle();
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_THAT(StatusOf("cat", 1).notes, ElementsAre(HasSubstr("stands in for version 2")));
  Add("cat/2");
  ShowAndSettle();
  EXPECT_EQ(VersionServed("cat"), 2);
  EXPECT_EQ(Reason("cat", 1), "unloaded");
}

TEST_F(RegistryRulesTest, WhatNobodyAskedForHasNoStandIn) {
  on_demand_ = true;
  Add("cat/1");
  Say("versions: {specific: [2]}\n");
  ShowAndSettle();
  EXPECT_THAT(Loads(), ::testing::IsEmpty());
  EXPECT_THAT(Message(LookupError("cat")), HasSubstr("version 1 is UNKNOWN"));
}

}  // namespace
}  // namespace torchd
