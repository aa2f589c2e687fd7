#include "server/registry/repository.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// "name/version", in the order of the scan.
std::vector<std::string> Found(const TempFolder& repository) {
  const auto folders = ScanRepository(repository.path());
  EXPECT_TRUE(folders.ok()) << folders.status();
  std::vector<std::string> found;
  if (!folders.ok()) return found;
  for (const VersionFolder& folder : *folders) {
    found.push_back(absl::StrCat(folder.name, "/", folder.version));
  }
  return found;
}

VersionFolder FolderOf(const TempFolder& repository, const std::string& name, int64_t version) {
  const std::string model = repository.Path(name);
  return {name, version, model, absl::StrCat(model, "/", version), {}};
}

TEST(CheckModelNameTest, LegalNames) {
  for (const std::string& name : {std::string("a"), std::string("_"), std::string("9"),
                                  std::string("ResNet-50.v1_b"), std::string(128, 'x')}) {
    EXPECT_TRUE(CheckModelName(name).ok()) << name;
  }
}

TEST(CheckModelNameTest, IllegalNames) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("-a"), std::string(".git"),
        std::string("a/b"), std::string("../a"), std::string("a b"), std::string("a\n"),
        std::string("a\0b", 3), std::string("katze\xc3\xa4"), std::string(129, 'x')}) {
    EXPECT_EQ(CheckModelName(name).code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(CheckModelNameTest, MessageShowsABoundedHarmlessName) {
  const std::string message = Message(CheckModelName("x\n\x1b" + std::string(5000, 'y')));
  EXPECT_THAT(message, AllOf(HasSubstr("'x??yyy"), HasSubstr("(5003 bytes)"), HasSubstr("...'")));
  EXPECT_LT(message.size(), 300u);
}

TEST(ScanRepositoryTest, VersionsAreSortedAsNumbers) {
  const TempFolder repository;
  for (const char* folder : {"dog/1", "cat/10", "cat/9", "cat/1"}) {
    repository.Write(absl::StrCat(folder, "/model.pt"), "");
  }
  EXPECT_THAT(Found(repository), ElementsAre("cat/1", "cat/9", "cat/10", "dog/1"));
}

TEST(ScanRepositoryTest, WhatIsNoVersionIsIgnored) {
  const TempFolder repository;
  for (const char* folder :
       {"1", "01", "+2", "-3", "0", "v4", "5a", ".6", "99999999999999999999"}) {
    repository.Write(absl::StrCat("cat/", folder, "/model.pt"), "");
  }
  repository.Write("cat/7", "a file");
  EXPECT_THAT(Found(repository), ElementsAre("cat/1"));
}

TEST(ScanRepositoryTest, DotFoldersAndFilesAreNoModels) {
  const TempFolder repository;
  repository.Write(".git/1/model.pt", "");
  repository.Write("README.md", "");
  EXPECT_THAT(Found(repository), IsEmpty());
}

TEST(ScanRepositoryTest, ModelWithoutAVersionAppearsWithTheReason) {
  const TempFolder repository;
  repository.Write("cat/model.pt", "");
  const auto folders = ScanRepository(repository.path());
  ASSERT_TRUE(folders.ok());
  ASSERT_EQ(folders->size(), 1u);
  EXPECT_EQ(folders->at(0).version, 0);
  EXPECT_EQ(folders->at(0).status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(folders->at(0).status), HasSubstr(repository.Path("cat/1/model.pt")));
}

TEST(ScanRepositoryTest, VersionWithoutItsModelFileAppearsWithTheReason) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  repository.Write("cat/2/labels.txt", "");
  const auto folders = ScanRepository(repository.path());
  ASSERT_TRUE(folders.ok());
  ASSERT_EQ(folders->size(), 2u);
  EXPECT_TRUE(folders->at(0).status.ok());
  EXPECT_EQ(folders->at(0).ModelFile(), repository.Path("cat/1/model.pt"));
  EXPECT_EQ(folders->at(1).status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(folders->at(1).status), HasSubstr(repository.Path("cat/2/model.pt")));
}

TEST(ScanRepositoryTest, FolderNobodyCouldNameAppearsWithTheReason) {
  const TempFolder repository;
  repository.Write("my cat/1/model.pt", "");
  const auto folders = ScanRepository(repository.path());
  ASSERT_TRUE(folders.ok());
  ASSERT_EQ(folders->size(), 1u);
  EXPECT_EQ(folders->at(0).status.code(), absl::StatusCode::kInvalidArgument);
}

TEST(ScanRepositoryTest, MissingRepositoryIsNotFound) {
  const TempFolder repository;
  repository.Write("file", "");
  for (const char* name : {"nowhere", "file"}) {
    const auto folders = ScanRepository(repository.Path(name));
    EXPECT_EQ(folders.status().code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(Message(folders.status()), HasSubstr(repository.Path(name)));
  }
}

TEST(ReadVersionFilesTest, NothingBesideTheModelGivesTheDefaults) {
  const TempFolder repository;
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_TRUE(files->config.softmax);
  EXPECT_THAT(files->labels, IsEmpty());
  EXPECT_THAT(files->vocabulary, IsEmpty());
}

TEST(ReadVersionFilesTest, FilesOfTheModelServeAllItsVersions) {
  const TempFolder repository;
  repository.Write("cat/model.yaml", "text: {}\nsoftmax: false\n");
  repository.Write("cat/labels.txt", "tabby\r\n\nlong hair \n\n\n");
  repository.Write("cat/vocab.txt", "[PAD]\n");
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_FALSE(files->config.softmax);
  EXPECT_THAT(files->labels, ElementsAre("tabby", "", "long hair"));
  EXPECT_EQ(files->vocabulary, "[PAD]\n");
}

TEST(ReadVersionFilesTest, FilesOfTheVersionComeFirst) {
  const TempFolder repository;
  repository.Write("cat/model.yaml", "softmax: true\n");
  repository.Write("cat/labels.txt", "old\n");
  repository.Write("cat/2/model.yaml", "softmax: false\n");
  repository.Write("cat/2/labels.txt", "new\n");
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 2));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_FALSE(files->config.softmax);
  EXPECT_THAT(files->labels, ElementsAre("new"));
}

TEST(ReadVersionFilesTest, ErrorsNameTheFile) {
  const TempFolder repository;
  repository.Write("bad/model.yaml", "softmax: perhaps\n");
  const auto bad = ReadVersionFiles(FolderOf(repository, "bad", 1));
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(bad.status()), HasSubstr(repository.Path("bad/model.yaml: ")));
  repository.Write("text/model.yaml", "text: {vocabulary: words.txt}\n");
  const auto text = ReadVersionFiles(FolderOf(repository, "text", 1));
  EXPECT_EQ(text.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(text.status()),
              AllOf(HasSubstr("words.txt"), HasSubstr(repository.Path("text"))));
}

// Labels travel in messages that hold text only; otherwise every answer would be unreadable.
TEST(ReadVersionFilesTest, LabelsAreUtf8) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  repository.Write("cat/labels.txt", "tabby\ncaf\xe9\n");
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  EXPECT_EQ(files.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(files.status()), AllOf(HasSubstr("labels.txt:2"), HasSubstr("caf\\xe9")));
}

TEST(ReadVersionFilesTest, LabelsThatWereNamedMustBeThere) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  repository.Write("cat/labels.txt", "tabby\n");
  repository.Write("cat/model.yaml", "labels: klasses.txt\n");
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  EXPECT_EQ(files.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(files.status()), HasSubstr("klasses.txt"));
}

// The name goes into messages, metrics and logs, which all want text.
TEST(ScanRepositoryTest, NameThatIsNoTextIsEscaped) {
  const TempFolder repository;
  repository.Write("caf\xe9/1/model.pt", "");
  EXPECT_THAT(Found(repository), ElementsAre("caf\\xe9/0"));
}

}  // namespace
}  // namespace torchd
