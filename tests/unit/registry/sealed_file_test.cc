#include "server/registry/sealed_file.h"

#include <filesystem>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/base/atomic_file.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

// A file that changed between its trial and its load would be loaded untried.
TEST(SealedFileTest, KeepsTheBytesWhateverBecomesOfTheFile) {
  for (const std::string name : {"model.pt", "model.pt2"}) {
    const TempFolder folder;
    folder.Write(name, "tried");
    auto sealed = SealedFile::Copy(folder.Path(name));
    ASSERT_TRUE(sealed.ok()) << sealed.status();
    folder.Write(name, "changed");
    EXPECT_EQ(ReadSmallFile(sealed->path(), 100).value_or(""), "tried");
    std::filesystem::remove(folder.Path(name));
    const SealedFile moved = *std::move(sealed);
    EXPECT_EQ(ReadSmallFile(moved.path(), 100).value_or(""), "tried");
  }
}

TEST(SealedFileTest, PackageKeepsItsEndingAndLeavesNoFolder) {
  const TempFolder folder;
  folder.Write("model.pt2", "tried");
  std::string path;
  {
    const auto sealed = SealedFile::Copy(folder.Path("model.pt2"));
    ASSERT_TRUE(sealed.ok()) << sealed.status();
    path = sealed->path();
    EXPECT_THAT(path, EndsWith(".pt2"));
  }
  EXPECT_FALSE(std::filesystem::exists(std::filesystem::path(path).parent_path()));
}

TEST(SealedFileTest, NamesWhatItCannotRead) {
  const TempFolder folder;
  const auto missing = SealedFile::Copy(folder.Path("none"));
  EXPECT_TRUE(absl::IsNotFound(missing.status()));
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr(folder.Path("none")));
  EXPECT_FALSE(SealedFile::Copy(folder.path()).ok());
}

}  // namespace
}  // namespace torchd
