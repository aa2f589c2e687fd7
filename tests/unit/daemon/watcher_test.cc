#include "server/daemon/watcher.h"

#include <sys/resource.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/registry/registry_fixture.h"

namespace torchd {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::_;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

constexpr Duration kGenerous = seconds(20);  // Waited for only when a test fails.

// A watcher with its thread, its kernel and its files. The clock is the test's; the watcher waits
// by the machine's, at most half a second before it looks at the clock again.
class WatcherTest : public RegistryFixture {
 protected:
  WatcherTest() { options_.poll_every = hours(1); }

  absl::Status Start() {
    source_.emplace(RepositorySource::Options{path_, {}, settle_}, registry(), clock_);
    const RepositorySnapshot known = Scan(repository_);
    source_->Begin(known);
    SettleAll();
    options_.repository = path_;
    options_.tick = [this] { ++ticks_; };
    auto watcher = Watcher::Start(options_, known, *source_, registry(), clock_);
    if (watcher.ok()) watcher_ = *std::move(watcher);
    return watcher.status();
  }

  // At once, so that no look ever sees half of it.
  void Arrive(const std::string& model, const std::string& contents = "good") const {
    outside_.Write(model + "/1/model.pt", contents);
    fs::rename(outside_.Path(model), repository_.Path(model));
  }

  template <typename Condition>
  static void Await(const char* what, Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kGenerous;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end) << "in vain for " << what;
      std::this_thread::sleep_for(milliseconds(1));
    }
  }
  // With two, a look that began after the call has ended: each follows its tick.
  void AwaitTicks(int count = 2) {
    Await("ticks", [this, end = ticks_ + count] { return ticks_ >= end; });
  }
  void ForgetTold() {
    absl::MutexLock lock(&mutex_);
    told_.clear();
  }
  bool Serves(const std::string& name) { return registry().Lookup(name, {}).ok(); }

  const std::string path_ = repository_.path();
  TempFolder outside_;
  Watcher::Options options_;
  Duration settle_ = seconds(3);
  std::atomic<int> ticks_{0};
  std::optional<RepositorySource> source_;
  std::unique_ptr<Watcher> watcher_;
};

TEST_F(WatcherTest, WhatComesIsLoadedOnceItHasStoodStill) {
  options_.watch = true;
  ASSERT_TRUE(Start().ok());
  Arrive("cat");
  Await("a look", [&] { return source_->NextDueTime() != kNever; });
  EXPECT_FALSE(registry().Knows("cat"));
  clock_.Advance(seconds(3));
  Await("cat", [&] { return Serves("cat"); });
}

TEST_F(WatcherTest, WhatGoesIsUnloadedOnceItHasStayedAway) {
  options_.watch = true;
  Add("cat/1");
  Add("dog/1");
  ASSERT_TRUE(Start().ok());
  fs::rename(repository_.Path("cat"), outside_.Path("cat"));
  Await("a look", [&] { return source_->NextDueTime() != kNever; });
  EXPECT_TRUE(Serves("cat"));
  clock_.Advance(seconds(3));
  Await("its end", [&] { return !registry().Knows("cat"); });
  EXPECT_THAT(Ended(), ElementsAre("good on unload-0"));
  EXPECT_TRUE(Serves("dog"));
}

// The kernel alone tells of it: the folder was not there when the watch began.
TEST_F(WatcherTest, FoldersThatComeAreWatchedAsWell) {
  options_.watch = true;
  settle_ = Duration(0);
  ASSERT_TRUE(Start().ok());
  Arrive("cat");
  Await("cat", [&] { return Serves("cat"); });
  AwaitTicks(1);
  Add("cat/1", "changed");
  Await("the change", [&] { return Loads().back() == "changed"; });
}

TEST_F(WatcherTest, WithoutWatchFilesAreNotLookedAt) {
  options_.poll_every = milliseconds(1);
  settle_ = Duration(0);
  ASSERT_TRUE(Start().ok());
  Arrive("cat");
  AwaitTicks();
  EXPECT_FALSE(registry().Knows("cat"));
}

TEST_F(WatcherTest, TicksThoughNothingHappens) {
  ASSERT_TRUE(Start().ok());
  AwaitTicks();
}

TEST_F(WatcherTest, WhatWaitedForItsTimeIsTriedAgain) {
  Add("cat/1", "full");
  ASSERT_TRUE(Start().ok());
  AwaitTicks(1);
  EXPECT_EQ(Loads().size(), 1u);
  clock_.Advance(seconds(1));
  Await("another try", [&] { return Loads().size() == 2; });
}

// A volume that is unmounted for a while, twice.
TEST_F(WatcherTest, UnreadableRepositoryLeavesWhatServesAndIsSaidOnce) {
  options_.watch = true;
  options_.poll_every = milliseconds(1);
  settle_ = Duration(0);
  Add("cat/1");
  ASSERT_TRUE(Start().ok());
  ForgetTold();
  CaptureStderr();
  for (const char* const newcomer : {"dog", "eel"}) {
    fs::rename(path_, outside_.Path("away"));
    AwaitTicks();
    EXPECT_TRUE(Serves("cat"));
    fs::rename(outside_.Path("away"), path_);
    Arrive(newcomer);
    Await(newcomer, [&] { return Serves(newcomer); });
  }
  watcher_.reset();
  const std::string log = GetCapturedStderr();
  const std::string warning = "repository cannot be read";
  const size_t first = log.find(warning);
  ASSERT_NE(first, std::string::npos) << log;
  const size_t second = log.find(warning, first + 1);
  ASSERT_NE(second, std::string::npos) << log;
  EXPECT_EQ(log.find(warning, second + 1), std::string::npos) << log;
  EXPECT_THAT(log.substr(first, 200), HasSubstr(path_));
  EXPECT_THAT(Told(), Not(Contains(Pair("cat", _))));
}

TEST_F(WatcherTest, StartWithoutDescriptorsIsRefused) {
  source_.emplace(RepositorySource::Options{path_, {}, settle_}, registry(), clock_);
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  const rlimit none{0, limit.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto watcher = Watcher::Start(options_, {}, *source_, registry(), clock_);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  EXPECT_EQ(watcher.status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace torchd
