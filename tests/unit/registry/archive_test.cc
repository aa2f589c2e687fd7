#include "server/registry/archive.h"

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/message.h"
#include "tests/unit/fakes/temp_folder.h"
#include "tests/unit/fakes/zip_archive.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CheckArchiveTest : public ::testing::Test {
 protected:
  absl::Status Check(const std::string& contents) {
    folder_.Write("model.pt", contents);
    return CheckArchive(folder_.Path("model.pt"));
  }
  void ExpectIncomplete(const std::string& contents, const std::string& reason) {
    const absl::Status status = Check(contents);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << reason;
    EXPECT_THAT(Message(status), AllOf(HasSubstr(folder_.Path("model.pt")), HasSubstr(reason)));
  }

  const TempFolder folder_;
};

TEST_F(CheckArchiveTest, WholeArchives) {
  for (const uint64_t size : {0, 1, 1000, 200'000}) {
    EXPECT_TRUE(Check(Join(MakeZip(size))).ok()) << size;
    EXPECT_TRUE(Check(MakeZip64(size)).ok()) << size;
  }
  EXPECT_TRUE(Check(Join(MakeZip(9, "made by hand"))).ok());
  EXPECT_TRUE(Check(Join(MakeZip(9, std::string(65535, 'c')))).ok());
}

// What a copy from front to back leaves, wherever it stops.
TEST_F(CheckArchiveTest, NoBeginningOfAnArchiveIsWhole) {
  for (const std::string& whole : {Join(MakeZip(100)), MakeZip64(100)}) {
    for (size_t size = 0; size < whole.size(); ++size) {
      EXPECT_EQ(Check(whole.substr(0, size)).code(), absl::StatusCode::kFailedPrecondition) << size;
    }
  }
}

// What a copy into a file of the final size leaves.
TEST_F(CheckArchiveTest, ZerosAtTheEndAreNotWhole) {
  const std::string whole = MakeZip64(100);
  for (size_t size = 0; size < whole.size() - 2; ++size) {  // The last two are zeros anyway.
    const std::string part = whole.substr(0, size) + std::string(whole.size() - size, '\0');
    EXPECT_EQ(Check(part).ok(), part == whole) << size;
  }
}

TEST_F(CheckArchiveTest, ReasonsNameTheFileAndWhatIsMissing) {
  ExpectIncomplete("", "(0 bytes) is no whole archive: its last record is missing");
  ExpectIncomplete("<html>not found</html>", "its last record is missing");
  ExpectIncomplete(std::string(300'000, 'P'), "its last record is missing");
  const Zip zip = MakeZip(100);
  ExpectIncomplete(zip.end, "its list of entries lies beyond its end");
  ExpectIncomplete(zip.entry + zip.end, "its list of entries lies beyond its end");
  ExpectIncomplete(zip.entry + std::string(zip.directory.size(), '\0') + zip.end,
                   "its list of entries is missing");
  ExpectIncomplete("PK\5\6" + std::string(18, '\0'), "it has no entries");
  ExpectIncomplete("PK\5\6" + Bytes(0, 8) + std::string(8, '\xff') + Bytes(0, 2),
                   "its list of entries lies beyond its end");
  const std::string end = Join(zip).substr(zip.entry.size() + zip.directory.size());
  for (const uint64_t at : {uint64_t{0}, uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 55}) {
    const absl::Status status =
        Check(zip.entry + "PK\6\7" + Bytes(0, 4) + Bytes(at, 8) + Bytes(1, 4) + end);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << at;
  }
}

// Any byte may be anything: the answer is a status, never a crash (the sanitizers look on), and
// what the check relies on is noticed when it breaks.
TEST_F(CheckArchiveTest, MutatedArchivesAreAnswered) {
  int noticed = 0;
  for (const std::string& whole : {Join(MakeZip(3)), MakeZip64(3)}) {
    for (size_t at = 0; at < whole.size(); ++at) {
      for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
        std::string mutant = whole;
        mutant[at] = static_cast<char>(value);
        const absl::Status status = Check(mutant);
        if (status.ok()) continue;
        ++noticed;
        EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << at;
      }
    }
  }
  EXPECT_GT(noticed, 200);
}

TEST_F(CheckArchiveTest, WhatIsNoFile) {
  EXPECT_EQ(CheckArchive(folder_.Path("nowhere")).code(), absl::StatusCode::kNotFound);
  ASSERT_EQ(::mkfifo(folder_.Path("fifo").c_str(), 0600), 0);
  for (const std::string& path : {folder_.path(), folder_.Path("fifo")}) {
    const absl::Status status = CheckArchive(path);  // Does not wait for a writer.
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(Message(status), HasSubstr("is not a file"));
  }
}

}  // namespace
}  // namespace torchd
