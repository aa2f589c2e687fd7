#include <sys/stat.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "server/registry/repository.h"
#include "tests/unit/registry/repository_scans.h"

namespace torchd {
namespace {

namespace fs = std::filesystem;

int64_t ChangeTime(const std::string& path) {
  struct stat stat = {};
  EXPECT_EQ(::stat(path.c_str(), &stat), 0);
  return int64_t{stat.st_ctim.tv_sec} * 1'000'000'000 + stat.st_ctim.tv_nsec;
}

TEST(FingerprintTest, EachFileOfAVersionCountsAndNoOther) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "x");
  repository.Write("cat/2/model.pt", "x");
  repository.Write("cat/model.yaml", "labels: names.txt\n");
  const auto file_time = [&] { return fs::last_write_time(repository.Path("cat/1/model.pt")); };
  const struct {
    const char* name;
    std::function<void()> change;
    bool counts;
  } cases[] = {
      {"nothing", [] {}, false},
      {"another version", [&] { repository.Write("cat/2/model.pt", "yy"); }, false},
      {"a new version", [&] { repository.Write("cat/3/model.pt", "x"); }, false},
      {"a hidden file", [&] { repository.Write("cat/1/.model.pt.part", "x"); }, false},
      {"a folder", [&] { fs::create_directory(repository.Path("cat/1/more")); }, false},
      {"a file beside the versions", [&] { repository.Write("cat/notes.md", "x"); }, false},
      {"another size", [&] { repository.Write("cat/1/model.pt", "yy"); }, true},
      {"another time",
       [&] {
         fs::last_write_time(repository.Path("cat/1/model.pt"),
                             file_time() - std::chrono::nanoseconds(1));
       },
       true},
      {"another file of the same size and time",
       [&] {
         repository.Write("cat/1/.new", "yy");
         fs::last_write_time(repository.Path("cat/1/.new"), file_time());
         fs::rename(repository.Path("cat/1/.new"), repository.Path("cat/1/model.pt"));
       },
       true},
      {"other contents of the same file, size and time",
       [&] {
         const auto time = file_time();
         const int64_t changed = ChangeTime(repository.Path("cat/1/model.pt"));
         // The clock of the file system ticks every few milliseconds only.
         while (ChangeTime(repository.Path("cat/1/model.pt")) == changed) {
           repository.Write("cat/1/model.pt", "zz");
           fs::last_write_time(repository.Path("cat/1/model.pt"), time);
         }
       },
       true},
      {"a mended permission",
       [&] { fs::permissions(repository.Path("cat/1/model.pt"), fs::perms::owner_all); }, true},
      {"a new file", [&] { repository.Write("cat/1/labels.txt", "x"); }, true},
      {"another name",
       [&] { fs::rename(repository.Path("cat/1/labels.txt"), repository.Path("cat/1/vocab.txt")); },
       true},
      {"the alternative", [&] { repository.Write("cat/1/model.pt2", "x"); }, true},
      {"the model's labels", [&] { repository.Write("cat/names.txt", "x"); }, true},
      {"the model's vocabulary", [&] { repository.Write("cat/vocab.txt", "x"); }, true},
      {"config.pbtxt", [&] { repository.Write("cat/config.pbtxt", "x"); }, true},
      {"model.yaml", [&] { repository.Write("cat/model.yaml", "softmax: false\n"); }, true},
      {"a link", [&] { Link(repository, "cat/1/link", "/nowhere"); }, true},
      {"the model file gone", [&] { fs::remove(repository.Path("cat/1/model.pt")); }, true},
  };
  uint64_t before = Version(repository, "cat", 1).fingerprint;
  for (const auto& test : cases) {
    test.change();
    const uint64_t after = Version(repository, "cat", 1).fingerprint;
    EXPECT_EQ(after != before, test.counts) << test.name;
    before = after;
  }
}

TEST(FingerprintTest, WhatIsSaidAboutAModelHasItsOwn) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "x");
  const auto fingerprint = [&] { return Scan(repository).models.at("cat").fingerprint; };
  const uint64_t before = fingerprint();
  repository.Write("cat/2/model.pt", "x");
  EXPECT_EQ(fingerprint(), before);
  repository.Write("cat/model.yaml", "softmax: false\n");
  EXPECT_NE(fingerprint(), before);
}

TEST(FingerprintTest, FilesOfAModelInTheRepositoryItselfCount) {
  const TempFolder repository;
  repository.Write("model.pt", "x");
  std::set<uint64_t> seen;
  const auto scan = [&] {
    seen.insert(
        Scan(repository, {.model_name = "cat"}).models.at("cat").versions.at(1).fingerprint);
  };
  scan();
  for (const char* name : {"model.yaml", "config.pbtxt", "labels.txt", "model.pt2"}) {
    repository.Write(name, "");
    scan();
  }
  EXPECT_EQ(seen.size(), 5u);
}

}  // namespace
}  // namespace torchd
