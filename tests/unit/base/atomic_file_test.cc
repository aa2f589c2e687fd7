#include "server/base/atomic_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Names(const TempFolder& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    names.push_back(entry.path().filename());
  }
  return names;
}

TEST(WriteFileAtomicallyTest, WritesWhatItIsGiven) {
  const TempFolder folder;
  for (const std::string& contents :
       {std::string("new"), std::string(), std::string("a\0b\n", 4), std::string(3 << 20, 'x')}) {
    ASSERT_TRUE(WriteFileAtomically(folder.Path("file"), contents).ok());
    EXPECT_EQ(ReadFile(folder.Path("file")), contents);
    EXPECT_THAT(Names(folder), ElementsAre("file"));
  }
}

TEST(WriteFileAtomicallyTest, ReadersSeeTheOldOrTheNewFile) {
  const TempFolder folder;
  const std::string path = folder.Path("file");
  const std::string old_text(100'000, 'o'), new_text(50'000, 'n');
  ASSERT_TRUE(WriteFileAtomically(path, old_text).ok());
  std::atomic<bool> stop{false};
  std::atomic<int> halves{0};
  std::thread reader([&] {
    while (!stop) {
      const std::string seen = ReadFile(path);
      if (seen != old_text && seen != new_text) ++halves;
    }
  });
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(WriteFileAtomically(path, i % 2 == 0 ? new_text : old_text).ok());
  }
  stop = true;
  reader.join();
  EXPECT_EQ(halves, 0);
}

TEST(WriteFileAtomicallyTest, ErrorNamesTheFileAndLeavesWhatWasThere) {
  const TempFolder folder;
  folder.Write("taken/inside", "old");
  const struct {
    std::string path;
    const char* why;
  } cases[] = {
      {folder.Path("nowhere/file"), "No such file"},
      {folder.Path("taken"), "directory"},  // Renaming over a folder fails.
      {folder.Path("taken/inside/file"), "Not a directory"},
  };
  for (const auto& test : cases) {
    const absl::Status status = WriteFileAtomically(test.path, "new");
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << test.path;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(test.path), HasSubstr(test.why)));
    EXPECT_EQ(ReadFile(folder.Path("taken/inside")), "old");
    EXPECT_THAT(Names(folder), ElementsAre("taken"));
  }
}

// The full disk of a test: every write to it fails with ENOSPC.
TEST(WriteFileAtomicallyTest, FullDiskLeavesTheOldFileAndNothingBeside) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full here";
  const TempFolder folder;
  folder.Write("file", "old");
  const std::string temporary = folder.Path("file." + std::to_string(::getpid()) + ".tmp");
  std::filesystem::create_symlink("/dev/full", temporary);
  const absl::Status status = WriteFileAtomically(folder.Path("file"), "new");
  EXPECT_THAT(std::string(status.message()), HasSubstr("No space left"));
  EXPECT_EQ(ReadFile(folder.Path("file")), "old");
  EXPECT_THAT(Names(folder), ElementsAre("file"));
}

TEST(ReadSmallFileTest, ReadsUpToItsLimit) {
  const TempFolder folder;
  folder.Write("file", "12345");
  EXPECT_EQ(ReadSmallFile(folder.Path("file"), 5).value(), "12345");
  const absl::Status status = ReadSmallFile(folder.Path("file"), 4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 4 bytes"));
  folder.Write("file", "");
  EXPECT_EQ(ReadSmallFile(folder.Path("file"), 0).value(), "");
}

TEST(ReadSmallFileTest, WhatCannotBeReadIsAnError) {
  const TempFolder folder;
  EXPECT_EQ(ReadSmallFile(folder.Path("none"), 9).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadSmallFile(folder.path(), 9).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ReadSmallFileTest, PipeIsNotWaitedFor) {
  const TempFolder folder;
  ASSERT_EQ(::mkfifo(folder.Path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(ReadSmallFile(folder.Path("pipe"), 9).value(), "");
}

}  // namespace
}  // namespace torchd
