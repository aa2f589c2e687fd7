#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/registry/repository.h"
#include "tests/unit/fakes/message.h"
#include "tests/unit/registry/repository_scans.h"

namespace torchd {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// --- What is unfit appears with the reason. ---

TEST(ScanRepositoryTest, ModelWithoutAVersionAppearsWithTheReason) {
  const TempFolder repository;
  repository.Write("cat/model.pt", "");
  const ModelOnDisk cat = Scan(repository).models.at("cat");
  ASSERT_THAT(Found(repository), ElementsAre("cat/0"));
  EXPECT_EQ(cat.status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(cat.versions.at(0).status, cat.status);
  EXPECT_THAT(Message(cat.status), HasSubstr(repository.Path("cat/1/model.pt")));
}

TEST(ScanRepositoryTest, VersionWithoutItsModelFileAppearsWithTheReason) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  repository.Write("cat/2/labels.txt", "");
  EXPECT_TRUE(Version(repository, "cat", 1).status.ok());
  const VersionFolder second = Version(repository, "cat", 2);
  EXPECT_EQ(second.status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(second.status), HasSubstr(repository.Path("cat/2/model.pt or model.pt2")));
}

TEST(ScanRepositoryTest, FolderNobodyCouldNameAppearsWithTheReason) {
  const TempFolder repository;
  repository.Write("my cat/1/model.pt", "");
  repository.Write("k\xe4se\n/1/model.pt", "");  // No UTF-8, which the wire wants.
  repository.Write(std::string(200, 'x') + "/1/model.pt", "");
  EXPECT_THAT(Found(repository),
              ElementsAre("k\\xe4se\\x0a/0", "my cat/0", std::string(200, 'x') + "/0"));
  EXPECT_EQ(Version(repository, "my cat", 0).status.code(), absl::StatusCode::kInvalidArgument);
}

TEST(ScanRepositoryTest, AMistakeInAModelsConfigurationIsEachVersionsReason) {
  for (const char* file : {"model.yaml", "config.pbtxt"}) {
    const TempFolder repository;
    repository.Write("cat/1/model.pt", "");
    repository.Write("cat/2/model.pt", "");
    repository.Write(absl::StrCat("cat/", file), "???: [\n");
    const ModelOnDisk cat = Scan(repository).models.at("cat");
    EXPECT_EQ(cat.status.code(), absl::StatusCode::kInvalidArgument) << file;
    EXPECT_THAT(Message(cat.status), HasSubstr(repository.Path(absl::StrCat("cat/", file, ": "))));
    ASSERT_THAT(Found(repository), ElementsAre("cat/1", "cat/2"));
    EXPECT_EQ(cat.versions.at(1).status, cat.status);
    EXPECT_EQ(cat.versions.at(2).status, cat.status);
  }
}

TEST(ScanRepositoryTest, AMistakeInAVersionsConfigurationIsItsOwn) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  repository.Write("cat/2/model.pt", "");
  repository.Write("cat/2/model.yaml", "softmax: perhaps\n");
  EXPECT_TRUE(Scan(repository).models.at("cat").status.ok());
  EXPECT_TRUE(Version(repository, "cat", 1).status.ok());
  const absl::Status second = Version(repository, "cat", 2).status;
  EXPECT_EQ(second.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(second), HasSubstr(repository.Path("cat/2/model.yaml: ")));
}

TEST(ScanRepositoryTest, LimitsAreSaidInTheError) {
  const TempFolder repository;
  for (const char* folder : {"a/1", "b/1", "b/2", "c/1"}) {
    repository.Write(absl::StrCat(folder, "/model.pt"), "");
  }
  const auto many = ScanRepository(repository.path(), {.models_max = 2});
  EXPECT_EQ(many.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(many.status()), HasSubstr("has 3 models; at most 2"));
  const RepositorySnapshot snapshot = Scan(repository, {.models_max = 3, .versions_max = 1});
  EXPECT_TRUE(snapshot.models.at("a").status.ok());
  EXPECT_EQ(snapshot.models.at("b").status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(snapshot.models.at("b").versions.at(0).status),
              HasSubstr("has 2 versions; at most 1"));
}

TEST(ScanRepositoryTest, MissingRepositoryIsNotFound) {
  const TempFolder repository;
  repository.Write("file", "");
  for (const char* name : {"nowhere", "file"}) {
    const auto snapshot = ScanRepository(repository.Path(name));
    EXPECT_EQ(snapshot.status().code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(Message(snapshot.status()), HasSubstr(repository.Path(name)));
  }
}

// --- Links, and what is neither file nor folder. ---

TEST(ScanRepositoryTest, LinksInsideTheRepositoryAreFollowed) {
  const TempFolder repository;
  repository.Write(".store/v1/weights.bin", "x");
  Link(repository, "cat/1", "../.store/v1");
  Link(repository, ".store/v1/model.pt", "weights.bin");
  Link(repository, "alias", repository.Path("cat"));
  for (const char* name : {"cat", "alias"}) {
    const VersionFolder version = Version(repository, name, 1);
    EXPECT_TRUE(version.status.ok()) << version.status;
    EXPECT_EQ(version.ModelFile(), repository.Path(".store/v1/weights.bin"));
  }
}

TEST(ScanRepositoryTest, TheRepositoryMayBeALink) {
  const TempFolder folder;
  folder.Write("checkout-1/cat/1/model.pt", "");
  Link(folder, "current", "checkout-1");
  const auto snapshot = ScanRepository(folder.Path("current"));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  // The real path, so that a link that is moved on does not mix two checkouts.
  EXPECT_EQ(AllVersions(*snapshot).at(0).ModelFile(), folder.Path("checkout-1/cat/1/model.pt"));
}

// Each case makes one entry unfit; "dog" beside it goes on.
TEST(ScanRepositoryTest, UnfitEntriesSayWhyAndStopNoOther) {
  const TempFolder outside;
  outside.Write("1/model.pt", "");
  outside.Write("model.pt", "");
  outside.Write("model.yaml", "");
  const auto link = [](const std::string& name, const std::string& target) {
    return [=](const TempFolder& repository) { Link(repository, name, target); };
  };
  const auto fifo = [](const std::string& name) {
    return [=](const TempFolder& repository) {
      fs::create_directories(fs::path(repository.Path(name)).parent_path());
      ASSERT_EQ(::mkfifo(repository.Path(name).c_str(), 0600), 0);
    };
  };
  const struct {
    std::function<void(const TempFolder&)> make;
    int64_t version;
    const char* reason;
  } cases[] = {
      {link("cat", outside.path()), 0, "/cat leads out of the repository"},
      {link("cat", "nowhere"), 0, "/cat leads nowhere"},
      {link("cat", "cat"), 0, "/cat leads in circles"},
      {link("cat/1", outside.Path("1")), 1, "/cat/1 leads out of the repository"},
      {link("cat/1", "../../.."), 1, "/cat/1 leads out of the repository"},
      {link("cat/1", "2"), 1, "/cat/1 leads nowhere"},
      {link("cat/1", "1"), 1, "/cat/1 leads in circles"},
      {link("cat/1/model.pt", outside.Path("model.pt")), 1, "leads out of the repository"},
      {link("cat/1/model.pt", "/dev/zero"), 1, "leads out of the repository"},
      {link("cat/1/model.pt", "weights"), 1, "/cat/1/model.pt leads nowhere"},
      {link("cat/1/model.pt2", outside.Path("model.pt")), 1, "leads out of the repository"},
      {link("cat/1/model.yaml", outside.Path("model.yaml")), 1, "no model file"},
      {fifo("cat/1/model.pt"), 1, "/cat/1/model.pt is a FIFO, not a file"},
      {fifo("cat/1/model.pt2"), 1, "/cat/1/model.pt2 is a FIFO, not a file"},
      {[](const TempFolder& repository) { repository.Write("cat/1/model.pt/x", ""); }, 1,
       "/cat/1/model.pt is a folder, not a file"},
  };
  for (const auto& test : cases) {
    const TempFolder repository;
    repository.Write("dog/1/model.pt", "");
    test.make(repository);
    EXPECT_TRUE(Version(repository, "dog", 1).status.ok());
    const VersionFolder cat = Version(repository, "cat", test.version);
    EXPECT_FALSE(cat.status.ok()) << test.reason;
    EXPECT_THAT(Message(cat.status), AllOf(HasSubstr(repository.path()), HasSubstr(test.reason)));
  }
}

TEST(ScanRepositoryTest, UnfitConfigurationsSayWhy) {
  const TempFolder outside;
  outside.Write("file", "");
  for (const char* file : {"cat/model.yaml", "cat/config.pbtxt", "cat/1/model.yaml"}) {
    const TempFolder repository;
    repository.Write("cat/1/model.pt", "");
    Link(repository, file, outside.Path("file"));
    const absl::Status linked = Version(repository, "cat", 1).status;
    EXPECT_EQ(linked.code(), absl::StatusCode::kInvalidArgument) << file;
    EXPECT_THAT(Message(linked), AllOf(HasSubstr(repository.Path(file)), HasSubstr("leads out")));
    fs::remove(repository.Path(file));
    ASSERT_EQ(::mkfifo(repository.Path(file).c_str(), 0600), 0);
    EXPECT_THAT(Message(Version(repository, "cat", 1).status), HasSubstr("is a FIFO"));
  }
}

TEST(ScanRepositoryTest, AnUnfitAlternativeIsANote) {
  const TempFolder repository;
  repository.Write("cat/1/model.pt", "");
  Link(repository, "cat/1/model.pt2", "nowhere");
  const ModelOnDisk cat = Scan(repository).models.at("cat");
  EXPECT_TRUE(cat.versions.at(1).status.ok()) << cat.versions.at(1).status;
  EXPECT_EQ(cat.versions.at(1).package_file, "");
  EXPECT_THAT(cat.notes, ElementsAre(HasSubstr("leads nowhere")));
}

TEST(ScanRepositoryTest, AnUnfitModelFileInTheRepositoryItselfSaysWhy) {
  const TempFolder repository;
  Link(repository, "model.pt", "/dev/zero");
  const RepositorySnapshot snapshot = Scan(repository, {.model_name = "cat"});
  EXPECT_THAT(Message(snapshot.models.at("cat").versions.at(1).status), HasSubstr("leads out"));
}

TEST(ScanRepositoryTest, FifosAndLinksToFilesBesideModelsAreIgnored) {
  const TempFolder repository;
  repository.Write("README.md", "");
  Link(repository, "README", "README.md");
  ASSERT_EQ(::mkfifo(repository.Path("fifo").c_str(), 0600), 0);
  EXPECT_THAT(Found(repository), IsEmpty());
}

}  // namespace
}  // namespace torchd
