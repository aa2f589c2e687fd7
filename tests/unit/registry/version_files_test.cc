#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/registry/repository.h"
#include "tests/unit/fakes/message.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

VersionFolder FolderOf(const TempFolder& repository, const std::string& name, int64_t version) {
  const std::string model = repository.Path(name);
  VersionFolder folder = {name, version, model, absl::StrCat(model, "/", version), {}};
  folder.repository = repository.path();
  return folder;
}

TEST(ReadVersionFilesTest, NothingBesideTheModelGivesTheDefaults) {
  const TempFolder repository;
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->config.activation, Activation::kSoftmax);
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
  EXPECT_EQ(files->config.activation, Activation::kNone);
  EXPECT_THAT(files->labels, ElementsAre("tabby", "", "long hair"));
  EXPECT_EQ(files->vocabulary, "[PAD]\n");
}

TEST(ReadVersionFilesTest, WhatOtherToolsWriteTakesThePlaceOfTheUsualFiles) {
  const TempFolder repository;
  repository.Write("cat/model.yaml", "text: {}\n");
  repository.Write("cat/index_to_name.json", "{\"0\": \"tabby\"}");
  repository.Write("cat/tokenizer.json", "{}");
  auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_THAT(files->labels, ElementsAre("tabby"));
  EXPECT_EQ(files->vocabulary, "{}");
  EXPECT_EQ(files->config.text->vocabulary, "tokenizer.json");
  repository.Write("cat/labels.txt", "own\n");
  repository.Write("cat/vocab.txt", "[PAD]\n");
  files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_THAT(files->labels, ElementsAre("own"));
  EXPECT_EQ(files->vocabulary, "[PAD]\n");
}

TEST(ReadVersionFilesTest, LabelsOfImagenetNeedNoFile) {
  const TempFolder repository;
  repository.Write("cat/model.yaml", "labels: imagenet\n");
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->labels.size(), 1000U);
}

TEST(ReadVersionFilesTest, WrongLabelsAreNamedWithTheirFile) {
  const TempFolder repository;
  repository.Write("cat/model.yaml", "labels: names.json\n");
  repository.Write("cat/names.json", "{\"a\": \"b\"}");
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  EXPECT_EQ(files.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(files.status()), AllOf(HasSubstr("names.json: key \"a\"")));
}

TEST(ReadVersionFilesTest, FilesOfTheVersionComeFirst) {
  const TempFolder repository;
  repository.Write("cat/model.yaml", "softmax: true\n");
  repository.Write("cat/labels.txt", "old\n");
  repository.Write("cat/2/model.yaml", "softmax: false\n");
  repository.Write("cat/2/labels.txt", "new\n");
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 2));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(files->config.activation, Activation::kNone);
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

TEST(ReadVersionFilesTest, WithoutModelYamlConfigPbtxtIsRead) {
  const TempFolder repository;
  repository.Write("cat/config.pbtxt", "name: \"cat\"\nversion_policy: { all: { } }\n");
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  ASSERT_TRUE(files.ok()) << files.status();
  ASSERT_TRUE(files->config.version_policy.has_value());
  EXPECT_EQ(files->config.version_policy->kind, VersionPolicy::Kind::kAll);
  repository.Write("cat/1/model.yaml", "");
  const auto own = ReadVersionFiles(FolderOf(repository, "cat", 1));
  ASSERT_TRUE(own.ok()) << own.status();
  EXPECT_FALSE(own->config.version_policy.has_value());
}

TEST(ReadVersionFilesTest, FilesOutsideTheRepositoryAreNotRead) {
  const TempFolder outside;
  outside.Write("file", "secret\n");
  for (const char* name : {"1/model.yaml", "labels.txt", "vocab.txt", "1/labels.txt"}) {
    const TempFolder repository;
    repository.Write("cat/1/model.yaml", "text: {}\n");
    repository.Write("cat/vocab.txt", "[PAD]\n");
    const std::string path = repository.Path(absl::StrCat("cat/", name));
    std::filesystem::remove(path);
    std::filesystem::create_symlink(outside.Path("file"), path);
    const auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
    EXPECT_EQ(files.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(Message(files.status()), AllOf(HasSubstr(path), HasSubstr("leads out")));
  }
}

TEST(ReadVersionFilesTest, WhatIsNoFileIsNotWaitedFor) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  ASSERT_EQ(::mkfifo(repository.Path("cat/labels.txt").c_str(), 0600), 0);
  const auto files = ReadVersionFiles(FolderOf(repository, "cat", 1));
  EXPECT_EQ(files.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(files.status()), HasSubstr("labels.txt is a FIFO, not a file"));
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

}  // namespace
}  // namespace torchd
