#include "server/registry/folder_watch.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr Duration kGenerous = std::chrono::seconds(60);  // Waited for only when a test fails.
constexpr Duration kNoTime = Duration(0);

class FolderWatchTest : public ::testing::Test {
 protected:
  FolderWatchTest() {
    folder_.Write("repository/cat/1/model.pt", "x");
    folder_.Write("repository/dog/1/model.pt", "x");
  }

  std::unique_ptr<FolderWatch> Make(FolderWatch::Options options) {
    auto watch = FolderWatch::Create(path_, options);
    EXPECT_TRUE(watch.ok()) << watch.status();
    return *std::move(watch);
  }
  // Does not poll while a test runs.
  std::unique_ptr<FolderWatch> Make() { return Make({.poll_every = std::chrono::hours(1)}); }

  void Watch(FolderWatch& watch) {
    const auto snapshot = ScanRepository(path_);
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    watch.Watch(*snapshot);
  }
  // As its owner does: until a look finds nothing new.
  void WatchAll(FolderWatch& watch) {
    do {
      Watch(watch);
    } while (watch.WaitForChange(kNoTime));
  }

  const TempFolder folder_;
  const std::string path_ = folder_.Path("repository");
};

TEST_F(FolderWatchTest, EachChangeIsNoticed) {
  const std::string cat = path_ + "/cat";
  const struct {
    const char* name;
    std::function<void()> change;
  } cases[] = {
      {"a new model", [&] { fs::create_directory(path_ + "/new"); }},
      {"a new version", [&] { fs::create_directory(cat + "/2"); }},
      {"a file in a new version", [&] { folder_.Write("repository/cat/2/model.pt", "x"); }},
      {"a file rewritten", [&] { folder_.Write("repository/cat/1/model.pt", "yy"); }},
      {"labels beside the versions", [&] { folder_.Write("repository/cat/labels.txt", "a"); }},
      {"a file moved in", [&] { fs::rename(cat + "/labels.txt", cat + "/1/labels.txt"); }},
      {"a file removed", [&] { fs::remove(cat + "/1/labels.txt"); }},
      {"its time", [&] { ::utimensat(AT_FDCWD, (cat + "/1/model.pt").c_str(), nullptr, 0); }},
      {"its rights", [&] { ::chmod((cat + "/1/model.pt").c_str(), 0600); }},
      {"a version moved away", [&] { fs::rename(cat + "/2", folder_.Path("away")); }},
      {"a version moved in", [&] { fs::rename(folder_.Path("away"), cat + "/3"); }},
      {"a version removed", [&] { fs::remove_all(cat + "/3"); }},
      {"a model removed", [&] { fs::remove_all(path_ + "/dog"); }},
      {"a model in place of another", [&] { fs::rename(path_ + "/new", path_ + "/dog"); }},
      {"a link", [&] { fs::create_directory_symlink("cat", path_ + "/alias"); }},
      {"the repository removed", [&] { fs::remove_all(path_); }},
      {"the repository made anew", [&] { fs::create_directory(path_); }},
      {"a model in it", [&] { folder_.Write("repository/cat/1/model.pt", "x"); }},
  };
  const auto watch = Make();
  WatchAll(*watch);
  for (const auto& test : cases) {
    EXPECT_FALSE(watch->WaitForChange(kNoTime)) << "before " << test.name;
    test.change();
    EXPECT_TRUE(watch->WaitForChange(kGenerous)) << test.name;
    if (fs::exists(path_)) WatchAll(*watch);
  }
}

TEST_F(FolderWatchTest, AChangeFromAnotherThreadEndsTheWait) {
  const auto watch = Make();
  WatchAll(*watch);
  std::thread writer([&] { folder_.Write("repository/cat/1/model.pt", "yy"); });
  EXPECT_TRUE(watch->WaitForChange(kGenerous));
  writer.join();
}

TEST_F(FolderWatchTest, SeveralChangesCountAsOne) {
  const auto watch = Make();
  WatchAll(*watch);
  for (int i = 0; i < 1000; ++i) folder_.Write("repository/cat/labels.txt", "a");
  EXPECT_TRUE(watch->WaitForChange(kGenerous));
  EXPECT_FALSE(watch->WaitForChange(kNoTime));
}

TEST_F(FolderWatchTest, ReadingIsNoChange) {
  const auto watch = Make();
  WatchAll(*watch);
  for (const VersionFolder& folder : AllVersions(*ScanRepository(path_))) {
    EXPECT_TRUE(ReadVersionFiles(folder).ok());
    EXPECT_EQ(ReadFile(folder.ModelFile()), "x");
  }
  EXPECT_FALSE(watch->WaitForChange(kNoTime));
}

// The files of a new folder may be older than the watch on it.
TEST_F(FolderWatchTest, AFolderThatIsNewlyWatchedMayHaveChanged) {
  const auto watch = Make();
  Watch(*watch);
  EXPECT_TRUE(watch->WaitForChange(kNoTime));
  Watch(*watch);
  EXPECT_FALSE(watch->WaitForChange(kNoTime));
}

TEST_F(FolderWatchTest, OtherFoldersBesideTheRepositoryDoNotCount) {
  const auto watch = Make();
  WatchAll(*watch);
  folder_.Write("beside/cat/1/model.pt", "x");
  EXPECT_FALSE(watch->WaitForChange(kNoTime));
}

// As git-sync publishes a checkout.
TEST_F(FolderWatchTest, ALinkToTheRepositoryThatIsMovedOnIsNoticed) {
  folder_.Write("new/cat/2/model.pt", "x");
  const std::string link = folder_.Path("current");
  fs::create_directory_symlink(path_, link);
  const auto watch = FolderWatch::Create(link + "/", {.poll_every = std::chrono::hours(1)});
  ASSERT_TRUE(watch.ok());
  const auto watch_all = [&] {
    do {
      (*watch)->Watch(*ScanRepository(link));
    } while ((*watch)->WaitForChange(kNoTime));
  };
  watch_all();
  fs::create_directory_symlink(folder_.Path("new"), folder_.Path("next"));
  fs::rename(folder_.Path("next"), link);
  EXPECT_TRUE((*watch)->WaitForChange(kGenerous));
  watch_all();
  folder_.Write("repository/cat/1/model.pt", "the old one");
  EXPECT_FALSE((*watch)->WaitForChange(kNoTime));
  folder_.Write("new/cat/2/model.pt", "the new one");
  EXPECT_TRUE((*watch)->WaitForChange(kGenerous));
}

TEST_F(FolderWatchTest, AModelFileElsewhereInTheRepositoryIsWatched) {
  folder_.Write("repository/.store/weights", "x");
  fs::create_directory(path_ + "/cat/2");
  fs::create_symlink("../../.store/weights", path_ + "/cat/2/model.pt");
  const auto watch = Make();
  WatchAll(*watch);
  folder_.Write("repository/.store/weights", "yy");
  EXPECT_TRUE(watch->WaitForChange(kGenerous));
}

TEST_F(FolderWatchTest, WhatALinkHasOutsideIsNotWatched) {
  folder_.Write("outside/1/model.pt", "x");
  fs::create_directory_symlink("../outside", path_ + "/link");
  const auto watch = Make();
  WatchAll(*watch);
  folder_.Write("outside/1/model.pt", "yy");
  EXPECT_FALSE(watch->WaitForChange(kNoTime));
}

TEST_F(FolderWatchTest, WakeEndsTheWaitOnceAndIsNoChange) {
  const auto watch = Make();
  WatchAll(*watch);
  watch->Wake();
  watch->Wake();
  EXPECT_FALSE(watch->WaitForChange(Duration::max()));
  std::thread waker([&] { watch->Wake(); });
  EXPECT_FALSE(watch->WaitForChange(Duration::max()));
  waker.join();
  watch->Wake();
  folder_.Write("repository/cat/labels.txt", "a");
  EXPECT_TRUE(watch->WaitForChange(kGenerous));
  EXPECT_FALSE(watch->WaitForChange(milliseconds(1)));
}

TEST_F(FolderWatchTest, WithoutTheKernelsHelpItPolls) {
  const auto watch = Make({.inotify = false, .poll_every = milliseconds(20)});
  Watch(*watch);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(watch->WaitForChange(kGenerous));
  watch->Wake();
  EXPECT_FALSE(Make({.inotify = false})->WaitForChange(milliseconds(1)));
}

TEST_F(FolderWatchTest, BeyondTheLimitOfFoldersItWarnsOnceAndPolls) {
  const auto watch = Make({.poll_every = milliseconds(20), .folders_max = 2});
  ::testing::internal::CaptureStderr();
  Watch(*watch);
  Watch(*watch);
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("more than 2 folders"));
  EXPECT_EQ(log.find("noticed late"), log.rfind("noticed late"));
  EXPECT_TRUE(watch->WaitForChange(kGenerous));
  EXPECT_TRUE(watch->WaitForChange(kGenerous));
}

}  // namespace
}  // namespace torchd
