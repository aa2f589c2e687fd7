#include "server/registry/repository_source.h"

#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/registry/registry_fixture.h"

namespace torchd {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RepositorySourceTest : public RegistryFixture {
 protected:
  RepositorySource& source() {
    if (!source_) {
      source_.emplace(RepositorySource::Options{path_, {}, seconds(3)}, registry(), clock_);
      source_->Begin(Scan(repository_));
      SettleAll();
    }
    return *source_;
  }
  void Look() {
    const auto seen = source().Look();
    EXPECT_TRUE(seen.ok()) << seen.status();
    SettleAll();
  }
  void LookAt(const std::string& name) {
    const absl::Status status = source().LookAt(name);
    EXPECT_TRUE(status.ok()) << status;
    SettleAll();
  }

  const std::string path_ = repository_.path();
  std::optional<RepositorySource> source_;
};

TEST_F(RepositorySourceTest, BeginTellsAllAtOnce) {
  Add("cat/1");
  source();
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_EQ(source().NextDueTime(), kNever);
}

TEST_F(RepositorySourceTest, LookTellsWhatHasSettledAndReturnsWhatThereIs) {
  Add("cat/1");
  source();
  Add("cat/2");
  const auto seen = source().Look();
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ(AllVersions(*seen).size(), 2u);
  EXPECT_EQ(StatusOf("cat", 2).name, "");
  EXPECT_EQ(source().NextDueTime(), clock_.Now() + seconds(3));
  clock_.Advance(seconds(3));
  Look();
  EXPECT_EQ(VersionServed("cat"), 2);
}

TEST_F(RepositorySourceTest, LookAtTellsOfOneModelAsItIs) {
  source();
  Add("cat/1");
  Add("dog/1");
  LookAt("cat");
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_EQ(LookupError("dog").code(), absl::StatusCode::kNotFound);
}

// A look used to put back what had last settled.
TEST_F(RepositorySourceTest, WhatWasLookedAtIsNotPutBack) {
  Add("cat/1", "old");
  source();
  Add("cat/1", "new");
  Look();
  LookAt("cat");
  Look();
  EXPECT_THAT(Loads(), ElementsAre("old", "new"));
}

TEST_F(RepositorySourceTest, WhatIsGoneIsToldOnceItHasStayedAway) {
  Add("cat/1");
  Add("dog/1");
  source();
  Remove("cat");
  Look();
  EXPECT_EQ(VersionServed("cat"), 1);
  clock_.Advance(seconds(3));
  Look();
  EXPECT_EQ(LookupError("cat").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(VersionServed("dog"), 1);
}

// It was unloaded, by any policy but the default at once.
TEST_F(RepositorySourceTest, AFolderThatCannotBeReadLeavesWhatServes) {
  for (const char* policy : {"{latest: 1}", "{all: true}", "{specific: [1]}"}) {
    Add(".real/1");
    repository_.Write(".real/model.yaml", absl::StrCat("versions: ", policy, "\n"));
    Link(repository_, "cat", ".real");
    Add("dog/1");
    source_.reset();
    registry_.reset();
    source();
    const TempFolder outside;
    std::filesystem::remove(repository_.Path("cat"));
    Link(repository_, "cat", outside.path());
    for (int looks = 0; looks < 3; ++looks) {
      Look();
      EXPECT_EQ(VersionServed("cat"), 1) << policy;
      clock_.Advance(seconds(3));
    }
    EXPECT_EQ(State("cat", 0), VersionState::kUnavailable);
    EXPECT_THAT(Reason("cat", 0), HasSubstr("leads out of the repository"));
    std::filesystem::remove(repository_.Path("cat"));
    Link(repository_, "cat", ".real");
    Look();
    clock_.Advance(seconds(3));
    Look();
    EXPECT_EQ(VersionServed("cat"), 1);
    EXPECT_EQ(StatusOf("cat", 0).name, "");
    std::filesystem::remove(repository_.Path("cat"));
  }
  EXPECT_EQ(Ended().size(), 4u);  // With their registry.
}

TEST_F(RepositorySourceTest, AFolderWhoseVersionsAreRemovedEnds) {
  Add("cat/1");
  repository_.Write("cat/labels.txt", "");
  Add("dog/1");
  source();
  Remove("cat/1");
  Look();
  EXPECT_EQ(VersionServed("cat"), 1);
  clock_.Advance(seconds(3));
  Look();
  EXPECT_EQ(LookupError("cat").code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Reason("cat", 0), HasSubstr("no version in"));
}

// An empty mount point used to unload everything.
TEST_F(RepositorySourceTest, ARepositoryThatIsEmptyAllAtOnceLeavesWhatServes) {
  const TempFolder outside;
  Add("cat/1");
  Add("dog/1");
  source();
  for (const char* name : {"cat", "dog"}) {
    std::filesystem::rename(repository_.Path(name), outside.Path(name));
  }
  for (int looks = 0; looks < 3; ++looks) {
    EXPECT_THAT(Message(source().Look().status()), HasSubstr("is empty all at once"));
    EXPECT_FALSE(source().LookAt("cat").ok());
    clock_.Advance(seconds(3));
  }
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_EQ(VersionServed("dog"), 1);
  std::filesystem::rename(outside.Path("cat"), repository_.Path("cat"));
  Look();
  clock_.Advance(seconds(3));
  Look();
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_EQ(LookupError("dog").code(), absl::StatusCode::kNotFound);
}

TEST_F(RepositorySourceTest, AStrayModelFileInTheRepositoryIsLoggedOnce) {
  Add("cat/1");
  source();
  testing::internal::CaptureStderr();
  repository_.Write("model.pt", "");
  for (int looks = 0; looks < 2; ++looks) {
    Look();
    clock_.Advance(seconds(3));
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_NE(log.find("is not honoured"), std::string::npos) << log;
  EXPECT_EQ(log.find("is not honoured"), log.rfind("is not honoured")) << log;
}

// The model in the repository itself serves: a folder beside it must not end it.
TEST_F(RepositorySourceTest, TheLayoutStays) {
  repository_.Write("model.pt", "good");
  source();
  Add("cat/1");
  Look();
  clock_.Advance(seconds(3));
  Look();
  EXPECT_EQ(VersionServed(""), 1);
  EXPECT_FALSE(registry().Knows("cat"));
}

// The watcher looked again and again, without a pause.
TEST_F(RepositorySourceTest, NothingIsDueWhileTheRepositoryIsAway) {
  Add("cat/1");
  source();
  Add("cat/2");
  Look();
  EXPECT_EQ(source().NextDueTime(), clock_.Now() + seconds(3));
  const std::string away = path_ + "-away";
  std::filesystem::rename(path_, away);
  clock_.Advance(seconds(3));
  EXPECT_FALSE(source().Look().ok());
  EXPECT_EQ(source().NextDueTime(), kNever);
  std::filesystem::rename(away, path_);
  Look();
  EXPECT_EQ(VersionServed("cat"), 2);
}

TEST_F(RepositorySourceTest, ARepositoryMayBeEmptyFromTheStart) {
  source();
  Look();
  Add("cat/1");
  LookAt("cat");
  EXPECT_EQ(VersionServed("cat"), 1);
}

TEST_F(RepositorySourceTest, WhatChangesAfterALookAtWaitsAsEver) {
  Add("cat/1", "old");
  LookAt("cat");
  Add("cat/1", "newer");
  Look();
  EXPECT_THAT(Loads(), ElementsAre("old"));
  clock_.Advance(seconds(3));
  Look();
  EXPECT_THAT(Loads(), ElementsAre("old", "newer"));
}

TEST_F(RepositorySourceTest, UnreadableRepositoryIsToldToTheCallerOnly) {
  Add("cat/1");
  source();
  const std::string away = path_ + "-away";
  std::filesystem::rename(path_, away);
  for (const absl::Status& status : {source().Look().status(), source().LookAt("cat")}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(Message(status), HasSubstr(path_));
  }
  EXPECT_EQ(VersionServed("cat"), 1);
  std::filesystem::rename(away, path_);
}

// Several threads look at all while files change and one looks at those. What comes between a scan
// and its telling shows only now and then, hence the rounds.
TEST_F(RepositorySourceTest, NeverAnOlderViewAfterANewerOne) {
  Add("cat/1", "0");
  source();
  std::atomic<bool> stopping{false};
  std::vector<std::thread> watchers(4);
  for (std::thread& watcher : watchers) {
    watcher = std::thread([&] {
      while (!stopping) EXPECT_TRUE(source().Look().ok());
    });
  }
  for (int i = 1; i <= 100; ++i) {
    const std::string contents(static_cast<size_t>(i), 'x');  // Another size: another fingerprint.
    Add("cat/1", contents);
    LookAt("cat");
    EXPECT_EQ(Loads().back(), contents);
    EXPECT_EQ(Loads().size(), static_cast<size_t>(i) + 1);  // None came back in between.
  }
  stopping = true;
  for (std::thread& watcher : watchers) watcher.join();
}

}  // namespace
}  // namespace torchd
