#include "server/base/scratch_folder.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;

class ScratchFolderTest : public ::testing::Test {
 protected:
  ScratchFolderTest() { setenv("TMPDIR", tmpdir_.path().c_str(), 1); }
  ~ScratchFolderTest() override { unsetenv("TMPDIR"); }

  bool Empty() const { return std::filesystem::is_empty(tmpdir_.path()); }

  const TempFolder tmpdir_;
};

// Makes a folder with a file in it, and dies without a word.
void BeKilledWithAFolder() {
  const pid_t child = fork();
  if (child == 0) {
    const auto folder = ScratchFolder::Make();
    if (!folder.ok() || mkdir((folder->path() + "/deep").c_str(), 0700) != 0) _exit(1);
    raise(SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status));
}

TEST_F(ScratchFolderTest, IsGoneWithItsOwner) {
  {
    auto made = ScratchFolder::Make();
    ASSERT_TRUE(made.ok()) << made.status();
    const ScratchFolder folder = *std::move(made);
    tmpdir_.Write(std::filesystem::relative(folder.path(), tmpdir_.path()).string() + "/a", "a");
    EXPECT_FALSE(Empty());
  }
  EXPECT_TRUE(Empty());
}

// A package whose trial crashed left its code in TMPDIR for good.
TEST_F(ScratchFolderTest, WhatAKilledProcessLeavesIsRemoved) {
  BeKilledWithAFolder();
  EXPECT_FALSE(Empty());
  EXPECT_EQ(RemoveAbandonedScratch(), 1);
  EXPECT_TRUE(Empty());
}

TEST_F(ScratchFolderTest, FoldersInUseStay) {
  const auto ours = ScratchFolder::Make();
  const auto other = ScratchFolder::Make();
  BeKilledWithAFolder();
  EXPECT_EQ(RemoveAbandonedScratch(), 1);
  EXPECT_TRUE(std::filesystem::exists(ours->path()));
  EXPECT_TRUE(std::filesystem::exists(other->path()));
}

TEST_F(ScratchFolderTest, OnlyFoldersOfThatNameAreTouched) {
  tmpdir_.Write("other/file", "kept");
  tmpdir_.Write("torchd-pt2-file", "kept");
  const TempFolder elsewhere;
  elsewhere.Write("file", "kept");
  std::filesystem::create_directory_symlink(elsewhere.path(), tmpdir_.Path("torchd-pt2-link"));
  EXPECT_EQ(RemoveAbandonedScratch(), 0);
  EXPECT_EQ(ReadFile(elsewhere.Path("file")), "kept");
  EXPECT_EQ(ReadFile(tmpdir_.Path("other/file")), "kept");
  EXPECT_EQ(ReadFile(tmpdir_.Path("torchd-pt2-file")), "kept");
}

TEST_F(ScratchFolderTest, TmpdirThatIsNoFolderIsSaid) {
  setenv("TMPDIR", tmpdir_.Path("nowhere").c_str(), 1);
  EXPECT_THAT(std::string(ScratchFolder::Make().status().message()), HasSubstr("TMPDIR"));
  EXPECT_EQ(RemoveAbandonedScratch(), 0);
}

}  // namespace
}  // namespace torchd
