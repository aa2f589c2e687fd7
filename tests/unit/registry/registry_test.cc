#include "server/registry/registry.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/registry/registry_fixture.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr char kAll[] = "versions: {all: true}\n";

// What there is, what it says of itself, and how it is found; registry_changes_test.cc has the
// rest.
class RegistryTest : public RegistryFixture {};

TEST_F(RegistryTest, LoadedVersionIsReadyWithAllThatBelongsToIt) {
  on_load_ = [this](const std::string&) { clock_.Advance(std::chrono::milliseconds(5)); };
  Add("cat/1");
  repository_.Write("cat/labels.txt", "a\nb\nc\n");
  repository_.Write("cat/model.yaml", "softmax: false\n");
  ShowAndSettle();
  const auto handle = registry().Lookup("cat", {.version = 1});
  ASSERT_TRUE(handle.ok()) << handle.status();
  EXPECT_EQ((*handle)->name, "cat");
  EXPECT_EQ((*handle)->version, 1);
  EXPECT_EQ((*handle)->config.activation, Activation::kNone);
  EXPECT_THAT((*handle)->labels, ElementsAre("a", "b", "c"));
  EXPECT_THAT(Takes(**handle), ElementsAre("tensor"));
  const auto all = registry().Snapshot();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].state, VersionState::kReady);
  EXPECT_EQ(all[0].servable, *handle);
  EXPECT_EQ(all[0].reason, "");
  EXPECT_EQ(all[0].load_time, std::chrono::milliseconds(5));
  EXPECT_EQ(prepared_, 1);
}

TEST_F(RegistryTest, BrokenModelDoesNotStopTheOthers) {
  Add("ant/1", "broken");
  Add("bee/1");
  Add("cat/1", "broken");
  Add("dog/3");
  ShowAndSettle();
  EXPECT_EQ(LookupError("ant").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Reason("ant", 1), "LibTorch rejects it");
  EXPECT_EQ(VersionServed("bee"), 1);
  EXPECT_EQ(VersionServed("dog"), 3);
  EXPECT_TRUE(registry().settled());
}

TEST_F(RegistryTest, ModelIsReadyWhileOneOfItsVersionsIs) {
  repository_.Write("cat/model.yaml", kAll);
  Add("cat/1");
  Add("cat/2", "broken");
  ShowAndSettle();
  EXPECT_EQ(VersionServed("cat"), 1);
}

TEST_F(RegistryTest, LabelsOfAnotherModelAreRefused) {
  Add("cat/1");
  repository_.Write("cat/labels.txt", "a\nb\n");
  ShowAndSettle();
  EXPECT_EQ(LookupError("cat").code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Reason("cat", 1), HasSubstr("2 lines for 3 classes"));
}

TEST_F(RegistryTest, WhatDoesNotFitIsTheReason) {
  Add("cold/1", "cold");
  Add("text/1");
  repository_.Write("text/model.yaml", "text: {}\n");
  Add("yaml/1");
  repository_.Write("yaml/1/model.yaml", "soft_max: true\n");
  repository_.Write("none/readme", "");
  Add("image/1");
  repository_.Write("image/model.yaml", "image: {}\n");
  Add("pb/1");
  repository_.Write("pb/config.pbtxt", "version_policy: {\n");
  ShowAndSettle();
  EXPECT_EQ(Reason("cold", 1), "cannot warm up");
  EXPECT_THAT(Reason("text", 1), HasSubstr("no vocabulary vocab.txt"));
  EXPECT_THAT(Reason("yaml", 1), AllOf(HasSubstr("yaml/1/model.yaml"), HasSubstr("soft_max")));
  EXPECT_THAT(Reason("none", 0), HasSubstr("no version in"));
  EXPECT_THAT(Reason("image", 1), HasSubstr("input 'x' takes float32 [3]"));
  EXPECT_THAT(Reason("pb", 1), HasSubstr("pb/config.pbtxt"));
}

TEST_F(RegistryTest, TrialThatFailsKeepsTheModelOut) {
  trial_ = [](const VersionFolder& folder) -> absl::StatusOr<Trial> {
    if (folder.name == "bad") return absl::FailedPreconditionError("it crashed in its trial");
    return Trial{{FloatTensor({1, 3}, {1, 1, folder.name == "odd" ? 2.0F : 1.0F})}, 7000};
  };
  for (const char* folder : {"bad/1", "odd/1", "good/1"}) Add(folder);
  ShowAndSettle();
  EXPECT_EQ(Reason("bad", 1), "it crashed in its trial");
  EXPECT_EQ(
      Reason("odd", 1),
      "compared with its trial run: output 0 is 1 at 2, in the trial it was 2; a difference of "
      "0.5, at most 0.001 is expected");
  EXPECT_EQ(VersionServed("good"), 1);
  EXPECT_THAT(Loads(), ElementsAre("good", "good"));
  EXPECT_EQ(registry().memory().reserved(), 7000);  // As the trial found, not as the file is long.
}

TEST_F(RegistryTest, SnapshotIsByNameAndNumber) {
  for (const char* folder : {"dog/1", "cat/10", "cat/9"}) Add(folder);
  ShowAndSettle();
  std::vector<std::pair<std::string, int64_t>> order;
  for (const VersionStatus& status : registry().Snapshot()) {
    order.emplace_back(status.name, status.version);
  }
  EXPECT_THAT(order, ElementsAre(std::pair("cat", 9), std::pair("cat", 10), std::pair("dog", 1)));
}

TEST_F(RegistryTest, SnapshotSaysWhyAVersionIsNotWanted) {
  Add("cat/1");
  Add("cat/2");
  ShowAndSettle();
  EXPECT_EQ(State("cat", 1), VersionState::kUnknown);
  EXPECT_EQ(Reason("cat", 1), "not wanted: the version policy is the latest 1");
  EXPECT_EQ(Reason("cat", 2), "");
  EXPECT_THAT(Loads(), ElementsAre("good"));
}

TEST_F(RegistryTest, SnapshotHasTheNotesOfTheModel) {
  Add("cat/1");
  repository_.Write("cat/model.yaml", "softmax: true\n");
  repository_.Write("cat/config.pbtxt", "name: \"cat\"\n");
  ShowAndSettle();
  EXPECT_THAT(StatusOf("cat", 1).notes, ElementsAre(HasSubstr("config.pbtxt is not read")));
}

TEST_F(RegistryTest, EmptyRepositoryLoadsNothing) {
  Show();
  EXPECT_TRUE(registry().settled());
  EXPECT_THAT(registry().Snapshot(), IsEmpty());
  EXPECT_THAT(Message(LookupError("")), HasSubstr("has 0 models"));
  EXPECT_EQ(registry().NextDueTime(), kNever);
}

// --- Look-ups. ---

TEST_F(RegistryTest, VersionZeroIsTheHighestThatIsReady) {
  repository_.Write("cat/model.yaml", kAll);
  Add("cat/1");
  Add("cat/2");
  Add("cat/10", "broken");
  ShowAndSettle();
  EXPECT_EQ(VersionServed("cat"), 2);
  EXPECT_EQ(VersionServed("cat", {.version = 1}), 1);
}

TEST_F(RegistryTest, LabelWantsAndNamesItsVersion) {
  for (const char* folder : {"cat/1", "cat/2", "cat/3"}) Add(folder);
  repository_.Write("cat/model.yaml", "version_labels: {stable: 1, gone: 7}\n");
  ShowAndSettle();
  EXPECT_EQ(VersionServed("cat"), 3);
  EXPECT_EQ(VersionServed("cat", {.label = "stable"}), 1);
  EXPECT_THAT(StatusOf("cat", 1).labels, ElementsAre("stable"));
  EXPECT_EQ(State("cat", 2), VersionState::kUnknown);
  EXPECT_EQ(LookupError("cat", {.label = "gone"}).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(
      LookupError("cat", {.label = "canary"}),
      absl::NotFoundError("model 'cat' has no version label of that name; it has gone, stable"));
}

TEST_F(RegistryTest, UnknownModelsAndVersionsAreNotFound) {
  Add("cat/1");
  Add("cat/7", "broken");
  repository_.Write("none/readme", "");
  ShowAndSettle();
  EXPECT_EQ(LookupError("dog"), absl::NotFoundError("no model 'dog' in the repository"));
  EXPECT_EQ(LookupError("cat", {.version = 3}),
            absl::NotFoundError("model 'cat' has no version 3; it has 1, 7"));
  EXPECT_EQ(LookupError("none", {.version = 3}),
            absl::NotFoundError("model 'none' has no version 3; it has none"));
  EXPECT_EQ(LookupError("cat", {.label = "stable"}),
            absl::NotFoundError("model 'cat' has no version label of that name; it has none"));
}

TEST_F(RegistryTest, NonsenseIsInvalid) {
  Add("cat/1");
  ShowAndSettle();
  const struct {
    const char* name;
    VersionChoice choice;
    const char* says;
  } cases[] = {
      {"cat", {.version = -1}, "version is -1"},
      {"cat", {.version = 1, .label = "stable"}, "are both set"},
      {"../cat", {.version = 1}, "is no model name"},
  };
  for (const auto& test : cases) {
    const absl::Status status = LookupError(test.name, test.choice);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test.says;
    EXPECT_THAT(Message(status), HasSubstr(test.says));
  }
}

TEST_F(RegistryTest, NameMayBeEmptyWithOneModelOnly) {
  Add("cat/1");
  ShowAndSettle();
  EXPECT_EQ(VersionServed(""), 1);
  EXPECT_EQ(VersionServed("", {.version = 1}), 1);
  Add("dog/1");
  ShowAndSettle();
  const absl::Status two = LookupError("");
  EXPECT_EQ(two.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(two), HasSubstr("has 2 models"));
}

// ext4 has a lost+found, which made two models of one, and one that was never ready.
TEST_F(RegistryTest, FolderThatNobodyCouldNameIsNoModel) {
  Add("cat/1");
  repository_.Write("lost+found/readme", "");
  ShowAndSettle();
  EXPECT_EQ(VersionServed(""), 1);
  EXPECT_FALSE(StatusOf("lost+found", 0).wanted);
  EXPECT_THAT(Reason("lost+found", 0), HasSubstr("is no model name"));
}

TEST_F(RegistryTest, FailedVersionIsUnavailableAndSaysSo) {
  Add("cat/1", "broken");
  ShowAndSettle();
  for (const int64_t version : {0, 1}) {
    const absl::Status status = LookupError("cat", {.version = version});
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(Message(status), HasSubstr("model 'cat' version 1 is UNAVAILABLE"));
  }
}

// Also: a look-up does not wait for the load.
TEST_F(RegistryTest, VersionStillLoadingIsUnavailable) {
  Add("cat/1");
  absl::Status status;
  on_load_ = [&](const std::string&) { status = LookupError("cat", {.version = 1}); };
  ShowAndSettle();
  EXPECT_EQ(status, absl::UnavailableError("model 'cat' version 1 is LOADING"));
}

// --- What is told and counted. ---

TEST_F(RegistryTest, OnChangeIsToldOfChangesOnly) {
  absl::Notification shown;
  on_load_ = [&](const std::string&) { shown.WaitForNotification(); };
  Add("cat/1");
  Show();
  shown.Notify();
  Settle("cat");
  AwaitTold(2);
  EXPECT_THAT(Told(), ElementsAre(std::pair("cat", false), std::pair("cat", true)));
  for (int i = 0; i < 3; ++i) registry().Tick();
  ShowAndSettle();
  Add("cat/2");
  ShowAndSettle();  // One version follows another: the model serves all the while.
  EXPECT_EQ(Told().size(), 2u);
  registry().TellAll();
  EXPECT_THAT(Told().back(), std::pair("cat", true));
  EXPECT_EQ(Told().size(), 3u);
  Remove("cat");
  Show();
  EXPECT_THAT(Told().back(), std::pair("cat", false));
}

// Whoever waits for all that is wanted was not told when a broken model came or went.
TEST_F(RegistryTest, OnChangeIsToldOfWhatIsWantedAsWell) {
  on_demand_ = true;
  Add("cat/1", "broken");
  ShowAndSettle();
  EXPECT_THAT(Told(), ElementsAre(std::pair("cat", false)));
  registry().Ask("cat", true);
  Settle("cat");
  AwaitTold(2);
  registry().Ask("cat", false);
  EXPECT_EQ(Told().size(), 3u);
  registry().Ask("cat", true);
  Settle("cat");
  Remove("cat");
  Show();
  EXPECT_EQ(Told().size(), 5u);
  EXPECT_THAT(Told(), ::testing::Each(std::pair("cat", false)));
}

TEST_F(RegistryTest, LoadsAreCountedByWhatBecameOfThem) {
  Add("ant/1", "broken");
  Add("cat/1");
  ShowAndSettle();
  Add("cat/2");
  ShowAndSettle();
  std::vector<std::string> counted;
  for (const auto& family : metrics_.Collect()) {
    if (family.name != "torchd_model_loads_total") continue;
    for (const auto& metric : family.metric) {
      counted.push_back(absl::StrCat(metric.label[0].value, " ", metric.label[1].value, " ",
                                     metric.counter.value));
    }
  }
  EXPECT_THAT(counted, UnorderedElementsAre("ant INTERNAL 1", "cat OK 2"));
}

}  // namespace
}  // namespace torchd
