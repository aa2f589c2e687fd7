#include "client/input_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace torchd {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

class InputFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "torchd-inputs-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Make(const std::string& name) {
    const fs::path path = fs::path(folder_) / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path) << "x";
    return path.string();
  }

  static std::vector<std::string> Expanded(const std::vector<std::string>& words) {
    const absl::StatusOr<std::vector<std::string>> files = ExpandInputs(words);
    EXPECT_TRUE(files.ok()) << files.status();
    return files.value_or(std::vector<std::string>());
  }

  static std::string Refusal(const std::string& word) {
    const absl::Status status = ExpandInputs({word}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  std::string folder_;
};

TEST_F(InputFilesTest, FilesAndTheStandardInputStayInOrder) {
  const std::string b = Make("b.txt");
  const std::string a = Make("a.jpg");
  EXPECT_THAT(Expanded({b, "-", a, b}), ElementsAre(b, "-", a, b));
}

TEST_F(InputFilesTest, AFolderIsTheImagesBelowItByName) {
  const std::string z = Make("z.PNG");
  const std::string a = Make("sub/a.jpeg");
  const std::string b = Make("b.webp");
  Make("notes.txt");
  Make(".hidden.jpg");
  Make(".cache/thumbnail.jpg");
  Make("jpg");
  EXPECT_THAT(Expanded({folder_}), ElementsAre(b, a, z));
}

TEST_F(InputFilesTest, AFolderWithoutImagesIsAMistake) {
  Make("notes.txt");
  EXPECT_THAT(Refusal(folder_), HasSubstr("no .jpg, .jpeg, .png or .webp in this folder"));
}

TEST_F(InputFilesTest, APatternIsWhatItMatches) {
  const std::string one = Make("1.jpg");
  const std::string two = Make("2.jpg");
  Make("3.png");
  const std::string deep = Make("sub4/deep.jpg");
  EXPECT_THAT(Expanded({folder_ + "/*.jpg"}), ElementsAre(one, two));
  EXPECT_THAT(Expanded({folder_ + "/[2]?jpg"}), ElementsAre(two));
  EXPECT_THAT(Expanded({folder_ + "/sub?"}), ElementsAre(deep));
  EXPECT_THAT(Refusal(folder_ + "/*.gif"), HasSubstr("no file matches this pattern"));
}

TEST_F(InputFilesTest, AFileThatIsCalledLikeAPatternIsItself) {
  const std::string odd = Make("what[1].jpg");
  Make("what1.jpg");
  EXPECT_THAT(Expanded({odd}), ElementsAre(odd));
}

TEST_F(InputFilesTest, WhatIsNotThereIsNamed) {
  EXPECT_THAT(Refusal(folder_ + "/cat.jpg"), HasSubstr("/cat.jpg': No such file"));
}

TEST_F(InputFilesTest, LinksToFoldersAreNotFollowed) {
  const std::string a = Make("a.jpg");
  fs::create_directory_symlink(folder_, fs::path(folder_) / "again");
  EXPECT_THAT(Expanded({folder_}), ElementsAre(a));
}

}  // namespace
}  // namespace torchd
