#include "server/registry/repository.h"

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/message.h"
#include "tests/unit/registry/repository_scans.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// --- Names. ---

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

TEST(ModelNameOfTest, TheLastFolderMadeToFit) {
  const struct {
    std::string path, name;
  } cases[] = {
      {"/mnt/models", "models"},
      {"/mnt/models/", "models"},
      {"/mnt/models/.", "models"},
      {"models", "models"},
      {"/mnt/my cat", "my_cat"},
      {"/mnt/.cache", "_cache"},
      {"/mnt/-x", "_x"},
      {"/mnt/k\xc3\xa4se", "k__se"},
      {"/", "model"},
      {"/" + std::string(200, 'x'), std::string(128, 'x')},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(ModelNameOf(test.path), test.name) << test.path;
    EXPECT_TRUE(CheckModelName(ModelNameOf(test.path)).ok()) << test.path;
  }
}

// --- Models in folders with versions: our own layout and Triton's. ---

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

TEST(ScanRepositoryTest, HiddenFoldersAndFilesAreNoModels) {
  const TempFolder repository;
  repository.Write(".git/1/model.pt", "");
  repository.Write("README.md", "");
  EXPECT_THAT(Found(repository), IsEmpty());
}

TEST(ScanRepositoryTest, EitherKindOfModelFileIsFound) {
  const TempFolder repository;
  repository.Write("script/1/model.pt", "");
  repository.Write("package/1/model.pt2", "");
  repository.Write("both/1/model.pt", "");
  repository.Write("both/1/model.pt2", "");
  const VersionFolder script = Version(repository, "script", 1);
  EXPECT_TRUE(script.status.ok()) << script.status;
  EXPECT_EQ(script.model_file, repository.Path("script/1/model.pt"));
  EXPECT_EQ(script.package_file, "");
  EXPECT_EQ(script.ModelFile(), script.model_file);
  const VersionFolder package = Version(repository, "package", 1);
  EXPECT_TRUE(package.status.ok()) << package.status;
  EXPECT_EQ(package.package_file, repository.Path("package/1/model.pt2"));
  EXPECT_EQ(package.ModelFile(), package.package_file);
  const VersionFolder both = Version(repository, "both", 1);
  EXPECT_EQ(both.model_file, repository.Path("both/1/model.pt"));
  EXPECT_EQ(both.package_file, repository.Path("both/1/model.pt2"));
  EXPECT_EQ(both.ModelFile(), both.model_file);
}

TEST(ScanRepositoryTest, ModelYamlCountsAndConfigPbtxtIsNotedAsUnread) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  repository.Write("cat/config.pbtxt", "default_model_filename: \"other.pt\"\n");
  repository.Write("cat/model.yaml", "softmax: true\n");
  const ModelOnDisk cat = Scan(repository).models.at("cat");
  EXPECT_TRUE(cat.versions.at(1).status.ok()) << cat.versions.at(1).status;
  EXPECT_THAT(cat.notes, ElementsAre("config.pbtxt is not read, because there is a model.yaml"));
}

TEST(ScanRepositoryTest, AVersionsOwnModelYamlIsNotedToo) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  repository.Write("cat/2/model.pt", "");
  repository.Write("cat/config.pbtxt", "name: \"cat\"\n");
  repository.Write("cat/2/model.yaml", "softmax: true\n");
  EXPECT_THAT(Scan(repository).models.at("cat").notes,
              ElementsAre("version 2: config.pbtxt is not read, because there is a model.yaml"));
}

// They were ignored in silence.
TEST(ScanRepositoryTest, AVersionsOwnPolicyAndLabelsAreNotedAsNotHonoured) {
  for (const char* yaml : {"versions: {all: true}\n", "version_labels: {stable: 1}\n"}) {
    const TempFolder repository;
    repository.Write("cat/1/model.pt", "");
    repository.Write("cat/1/model.yaml", yaml);
    EXPECT_THAT(Scan(repository).models.at("cat").notes,
                ElementsAre(AllOf(HasSubstr("version 1: "), HasSubstr("are not honoured"))));
  }
}

TEST(ScanRepositoryTest, ConfigPbtxtSaysFilePolicyAndWhatIsNotHonoured) {
  const TempFolder repository;
  repository.Write("cat/1/traced.pt", "");
  repository.Write("cat/2/model.pt", "");
  repository.Write("cat/config.pbtxt",
                   "name: \"dog\"\nbackend: \"pytorch\"\ndefault_model_filename: \"traced.pt\"\n"
                   "version_policy: { all: { } }\nmodel_warmup: [ { name: \"w\" } ]\n");
  const ModelOnDisk cat = Scan(repository).models.at("cat");
  EXPECT_EQ(cat.versions.at(1).model_file, repository.Path("cat/1/traced.pt"));
  EXPECT_TRUE(cat.versions.at(1).status.ok()) << cat.versions.at(1).status;
  EXPECT_EQ(cat.versions.at(2).status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(cat.versions.at(2).status), HasSubstr(repository.Path("cat/2/traced.pt")));
  EXPECT_EQ(cat.policy.kind, VersionPolicy::Kind::kAll);
  EXPECT_THAT(cat.notes, ElementsAre(HasSubstr("config.pbtxt: model_warmup"),
                                     AllOf(HasSubstr("\"dog\""), HasSubstr("\"cat\""))));
}

TEST(ScanRepositoryTest, ConfigPbtxtMayNameAPackage) {
  const TempFolder repository;
  repository.Write("cat/1/compiled.pt2", "");
  repository.Write("cat/config.pbtxt", "default_model_filename: \"compiled.pt2\"\n");
  EXPECT_EQ(Version(repository, "cat", 1).package_file, repository.Path("cat/1/compiled.pt2"));
}

TEST(ScanRepositoryTest, ConfigPbtxtNamesNoFileElsewhere) {
  const TempFolder repository;
  repository.Write("dog/1/model.pt", "");
  repository.Write("cat/1/model.pt", "");
  for (const char* name : {"../../dog/1/model.pt", "/etc/passwd", ".."}) {
    repository.Write("cat/config.pbtxt", absl::StrCat("default_model_filename: \"", name, "\"\n"));
    EXPECT_EQ(Version(repository, "cat", 1).status.code(), absl::StatusCode::kInvalidArgument)
        << name;
  }
}

TEST(ScanRepositoryTest, WithoutAWordOfThePolicyTheLatestCounts) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  const ModelOnDisk cat = Scan(repository).models.at("cat");
  EXPECT_EQ(cat.policy.kind, VersionPolicy::Kind::kLatest);
  EXPECT_EQ(cat.policy.latest, 1);
  EXPECT_THAT(cat.version_labels, IsEmpty());
  EXPECT_THAT(cat.notes, IsEmpty());
  EXPECT_TRUE(cat.status.ok());
  EXPECT_EQ(cat.folder, repository.Path("cat"));
}

// --- One model in the repository itself: as KServe mounts it. ---

TEST(ScanRepositoryTest, AModelInTheRepositoryItselfIsVersionOne) {
  for (const char* file : {"model.pt", "model.pt2"}) {
    const TempFolder repository;
    repository.Write(absl::StrCat("models/", file), "");
    repository.Write("models/labels.txt", "tabby\n");
    repository.Write("models/config.pbtxt", "name: \"models\"\n");
    const auto snapshot = ScanRepository(repository.Path("models/"));
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    ASSERT_EQ(snapshot->models.size(), 1u);
    const ModelOnDisk& model = snapshot->models.at("models");
    EXPECT_TRUE(model.status.ok()) << model.status;
    EXPECT_THAT(model.notes, IsEmpty());
    ASSERT_EQ(model.versions.size(), 1u);
    const VersionFolder& version = model.versions.at(1);
    EXPECT_TRUE(version.status.ok()) << version.status;
    EXPECT_EQ(version.name, "models");
    EXPECT_EQ(version.folder, version.model_folder);
    EXPECT_EQ(version.ModelFile(), repository.Path(absl::StrCat("models/", file)));
    const auto files = ReadVersionFiles(version);
    ASSERT_TRUE(files.ok()) << files.status();
    EXPECT_THAT(files->labels, ElementsAre("tabby"));
  }
}

TEST(ScanRepositoryTest, ASettingNamesTheModelInTheRepositoryItself) {
  const TempFolder repository;
  repository.Write("model.pt", "");
  EXPECT_THAT(Found(repository, {.model_name = "cat"}), ElementsAre("cat/1"));
  const auto bad = ScanRepository(repository.path(), {.model_name = "../cat"});
  EXPECT_EQ(bad.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ScanRepositoryTest, FoldersBesideAModelInTheRepositoryItselfAreNotedAsUnread) {
  const TempFolder repository;
  repository.Write("model.pt", "");
  repository.Write("code/model.py", "");
  const RepositorySnapshot snapshot = Scan(repository, {.model_name = "cat"});
  ASSERT_EQ(snapshot.models.size(), 1u);
  EXPECT_EQ(snapshot.layout, Layout::kSingleModel);
  EXPECT_THAT(snapshot.models.at("cat").notes, ElementsAre(HasSubstr("are not read")));
}

// It used to hide every model.
TEST(ScanRepositoryTest, AModelFileThatStraysBesideFoldersOfModelsIsNoted) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  repository.Write("docs/readme", "");
  Link(repository, "model.pt", "nowhere");
  repository.Write("model.pt2", "");
  const RepositorySnapshot snapshot = Scan(repository);
  EXPECT_EQ(snapshot.layout, Layout::kModels);
  EXPECT_THAT(Found(repository), ElementsAre("cat/1", "docs/0"));
  EXPECT_THAT(snapshot.notes, ElementsAre(HasSubstr(repository.Path("model.pt is not honoured")),
                                          HasSubstr("model.pt2 is not honoured")));
}

TEST(ScanRepositoryTest, TheLayoutStandsWhileItCan) {
  const TempFolder repository;
  EXPECT_EQ(Scan(repository).layout, Layout::kUnknown);
  repository.Write("model.pt", "");
  repository.Write("cat/1/model.pt", "");
  const ScanOptions single = {.model_name = "one", .layout = Layout::kSingleModel};
  EXPECT_THAT(Found(repository, single), ElementsAre("one/1"));
  EXPECT_THAT(Found(repository), ElementsAre("cat/1"));
  std::filesystem::remove_all(repository.Path("cat"));
  EXPECT_THAT(Found(repository, {.layout = Layout::kModels}), IsEmpty());
  repository.Write("docs/readme", "");
  std::filesystem::remove(repository.Path("model.pt"));
  EXPECT_THAT(Found(repository, single), ElementsAre("one/1"));  // Being replaced, it may be.
  repository.Write("cat/1/model.pt", "");
  EXPECT_THAT(Found(repository, single), ElementsAre("cat/1", "docs/0"));
}

// It used to list nothing and say nothing.
TEST(ScanRepositoryTest, ConfigPbtxtInTheRepositoryItselfNamesTheModelFile) {
  const TempFolder repository;
  repository.Write("config.pbtxt", "default_model_filename: \"net.pt\"\n");
  const ScanOptions named = {.model_name = "cat"};
  const VersionFolder missing = Scan(repository, named).models.at("cat").versions.at(1);
  EXPECT_THAT(Message(missing.status), HasSubstr("no model file " + repository.Path("net.pt")));
  repository.Write("net.pt", "");
  repository.Write("code/model.py", "");
  const VersionFolder found = Scan(repository, named).models.at("cat").versions.at(1);
  EXPECT_EQ(found.ModelFile(), repository.Path("net.pt"));
}

TEST(ScanRepositoryTest, AFolderCalledLikeAModelFileIsAModel) {
  const TempFolder repository;
  repository.Write("model.pt/1/model.pt", "");
  EXPECT_THAT(Found(repository), ElementsAre("model.pt/1"));
}

// The name goes into messages, metrics and logs, which all want text.
TEST(ScanRepositoryTest, NameThatIsNoTextIsShownAsText) {
  const TempFolder repository;
  repository.Write("caf\xe9/1/model.pt", "");
  EXPECT_THAT(Found(repository), ElementsAre("caf\\xe9/0"));
}

// Two of them looked alike, and one of 200 letters like a model of 128.
TEST(ScanRepositoryTest, OddNamesHideNoOther) {
  const TempFolder repository;
  const std::string longest(128, 'x');
  for (const std::string& name :
       {std::string("caf\xe9"), std::string("caf\xe8"), std::string("caf\\xe9"), longest,
        longest + "y", longest + "z", std::string("a\n")}) {
    repository.Write(name + "/1/model.pt", "");
  }
  EXPECT_THAT(Found(repository),
              ElementsAre("a\\x0a/0", "caf\\x5cxe9/0", "caf\\xe8/0", "caf\\xe9/0", longest + "/1",
                          longest + "y/0", longest + "z/0"));
}

TEST(ScanRepositoryTest, LostAndFoundIsNothingThatIsThere) {
  const TempFolder repository;
  repository.Write("lost+found/1/model.pt", "");
  EXPECT_EQ(Scan(repository).layout, Layout::kUnknown);
  repository.Write("model.pt", "");
  const RepositorySnapshot single = Scan(repository, {.model_name = "cat"});
  EXPECT_EQ(single.layout, Layout::kSingleModel);
  EXPECT_THAT(single.models.at("cat").notes, IsEmpty());
}

}  // namespace
}  // namespace torchd
