#include "server/registry/registry.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A repository on disk whose model files say what becomes of them: "broken" does not load, "cold"
// does not warm up, anything else becomes a FakeModel of three classes.
class RegistryTest : public ::testing::Test {
 protected:
  void Add(const std::string& version_folder, const std::string& contents = "good") {
    repository_.Write(version_folder + "/model.pt", contents);
  }

  void LoadAll(int threads = 2) {
    const auto folders = ScanRepository(repository_.path());
    ASSERT_TRUE(folders.ok()) << folders.status();
    registry_.LoadAll(*folders, threads);
  }

  absl::Status LookupError(absl::string_view name, int64_t version) {
    const auto found = registry_.Lookup(name, version);
    EXPECT_FALSE(found.ok());
    return found.status();
  }

  std::string Reason(const std::string& name, int64_t version) {
    for (const VersionStatus& status : registry_.Snapshot()) {
      if (status.name == name && status.version == version) return status.reason;
    }
    return "no such version";
  }

  absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path) {
    clock_.Advance(std::chrono::milliseconds(5));
    if (while_loading_) while_loading_();
    const std::string contents = ReadFile(path);
    if (contents == "broken") return absl::InternalError("LibTorch rejects it");
    cold_ = contents == "cold";
    return std::make_unique<FakeModel>();
  }

  TempFolder repository_;
  ManualClock clock_;
  ServerMetrics metrics_{{"0", "0"}};
  std::function<void()> while_loading_;
  std::atomic<bool> cold_{false};
  std::atomic<int> prepared_{0};
  absl::Mutex mutex_;
  std::map<std::string, bool> told_;  // What on_change said last.
  Registry registry_{{
      .load = [this](const std::string& path, const ModelConfig&) { return Load(path); },
      .warm_up =
          [this](Model&) {
            return cold_ ? absl::InternalError("cannot warm up") : absl::OkStatus();
          },
      .prepare_thread = [this] { ++prepared_; },
      .on_change =
          [this](const std::string& name, bool ready) {
            absl::MutexLock lock(&mutex_);
            told_[name] = ready;
          },
      .image_limits = {},
      .metrics = &metrics_,
      .clock = &clock_,
  }};
};

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST_F(RegistryTest, LoadedVersionIsReadyWithAllThatBelongsToIt) {
  Add("cat/1");
  repository_.Write("cat/labels.txt", "a\nb\nc\n");
  repository_.Write("cat/model.yaml", "softmax: false\n");
  LoadAll();
  const auto handle = registry_.Lookup("cat", 1);
  ASSERT_TRUE(handle.ok()) << handle.status();
  EXPECT_EQ((*handle)->name, "cat");
  EXPECT_EQ((*handle)->version, 1);
  EXPECT_FALSE((*handle)->config.softmax);
  EXPECT_THAT((*handle)->labels, ElementsAre("a", "b", "c"));
  EXPECT_THAT(Takes(**handle), ElementsAre("tensor"));
  const auto all = registry_.Snapshot();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].state, VersionState::kReady);
  EXPECT_EQ(all[0].servable, *handle);
  EXPECT_EQ(all[0].reason, "");
  EXPECT_EQ(all[0].load_time, std::chrono::milliseconds(5));
  EXPECT_EQ(prepared_, 1);
  EXPECT_THAT(told_, ElementsAre(std::pair("cat", true)));
}

TEST_F(RegistryTest, BrokenVersionDoesNotStopTheOthers) {
  Add("ant/1", "broken");
  Add("bee/1");
  Add("cat/1", "broken");
  Add("dog/3");
  LoadAll();
  EXPECT_EQ(LookupError("ant", 0).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Reason("ant", 1), "LibTorch rejects it");
  EXPECT_TRUE(registry_.Lookup("bee", 0).ok());
  EXPECT_TRUE(registry_.Lookup("dog", 0).ok());
  EXPECT_THAT(told_, ElementsAre(std::pair("ant", false), std::pair("bee", true),
                                 std::pair("cat", false), std::pair("dog", true)));
}

TEST_F(RegistryTest, ModelIsReadyWhileOneOfItsVersionsIs) {
  Add("cat/1");
  Add("cat/2", "broken");
  LoadAll(1);
  EXPECT_THAT(told_, ElementsAre(std::pair("cat", true)));
}

TEST_F(RegistryTest, WhatCannotWarmUpIsUnavailable) {
  Add("cat/1", "cold");
  LoadAll(1);
  EXPECT_EQ(Reason("cat", 1), "cannot warm up");
}

TEST_F(RegistryTest, LabelsOfAnotherModelAreRefused) {
  Add("cat/1");
  repository_.Write("cat/labels.txt", "a\nb\n");
  LoadAll();
  EXPECT_EQ(LookupError("cat", 1).code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Reason("cat", 1), HasSubstr("2 lines for 3 classes"));
}

TEST_F(RegistryTest, FilesThatDoNotFitAreTheReason) {
  Add("text/1");
  repository_.Write("text/model.yaml", "text: {}\n");
  Add("yaml/1");
  repository_.Write("yaml/1/model.yaml", "soft_max: true\n");
  repository_.Write("none/readme", "");
  Add("image/1");
  repository_.Write("image/model.yaml", "image: {}\n");
  LoadAll();
  EXPECT_THAT(Reason("text", 1), HasSubstr("no vocabulary vocab.txt"));
  EXPECT_THAT(Reason("yaml", 1), AllOf(HasSubstr("yaml/1/model.yaml"), HasSubstr("soft_max")));
  EXPECT_THAT(Reason("none", 0), HasSubstr("no version in"));
  EXPECT_THAT(Reason("image", 1), HasSubstr("input 'x' takes float32 [3]"));
}

TEST_F(RegistryTest, SnapshotIsByNameAndNumber) {
  for (const char* folder : {"dog/1", "cat/10", "cat/9"}) Add(folder);
  LoadAll();
  std::vector<std::pair<std::string, int64_t>> order;
  for (const VersionStatus& status : registry_.Snapshot()) {
    order.emplace_back(status.name, status.version);
  }
  EXPECT_THAT(order, ElementsAre(std::pair("cat", 9), std::pair("cat", 10), std::pair("dog", 1)));
}

TEST_F(RegistryTest, EmptyRepositoryLoadsNothing) {
  LoadAll();
  EXPECT_THAT(registry_.Snapshot(), IsEmpty());
  EXPECT_THAT(Message(LookupError("", 0)), HasSubstr("has 0 models"));
}

TEST_F(RegistryTest, VersionZeroIsTheHighestThatIsReady) {
  Add("cat/1");
  Add("cat/2");
  Add("cat/10", "broken");
  LoadAll();
  const auto handle = registry_.Lookup("cat", 0);
  ASSERT_TRUE(handle.ok()) << handle.status();
  EXPECT_EQ((*handle)->version, 2);
}

TEST_F(RegistryTest, UnknownModelsAndVersionsAreNotFound) {
  Add("cat/1");
  Add("cat/7", "broken");
  LoadAll();
  EXPECT_EQ(LookupError("dog", 0), absl::NotFoundError("no model 'dog' in the repository"));
  EXPECT_EQ(LookupError("cat", 3),
            absl::NotFoundError("model 'cat' has no version 3; it has 1, 7"));
}

TEST_F(RegistryTest, NonsenseIsInvalid) {
  Add("cat/1");
  LoadAll();
  const absl::Status negative = LookupError("cat", -1);
  EXPECT_EQ(negative.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(negative), HasSubstr("version is -1"));
  EXPECT_EQ(LookupError("../cat", 1).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RegistryTest, NameMayBeEmptyWithOneModelOnly) {
  Add("cat/1");
  LoadAll();
  EXPECT_TRUE(registry_.Lookup("", 0).ok());
  EXPECT_TRUE(registry_.Lookup("", 1).ok());
  Add("dog/1");
  LoadAll();
  const absl::Status two = LookupError("", 0);
  EXPECT_EQ(two.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(two), HasSubstr("has 2 models"));
}

TEST_F(RegistryTest, FailedVersionIsUnavailableAndSaysSo) {
  Add("cat/1", "broken");
  LoadAll();
  for (const int64_t version : {0, 1}) {
    const absl::Status status = LookupError("cat", version);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(Message(status), HasSubstr("model 'cat' version 1 is UNAVAILABLE"));
  }
}

// Also: a look-up does not wait for the load.
TEST_F(RegistryTest, VersionStillLoadingIsUnavailable) {
  Add("cat/1");
  absl::Status status;
  while_loading_ = [&] { status = LookupError("cat", 1); };
  LoadAll(1);
  EXPECT_EQ(status, absl::UnavailableError("model 'cat' version 1 is LOADING"));
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
