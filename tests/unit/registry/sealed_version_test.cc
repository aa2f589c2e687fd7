#include "server/registry/sealed_version.h"

#include <filesystem>
#include <string>

#include "gtest/gtest.h"
#include "tests/unit/registry/repository_scans.h"

namespace torchd {
namespace {

class SealedVersionTest : public ::testing::Test {
 protected:
  SealedVersionTest() {
    repository_.Write("cat/1/model.pt", "script");
    repository_.Write("cat/1/model.pt2", "code");
  }

  VersionFolder Folder() const { return Scan(repository_).models.at("cat").versions.at(1); }

  const TempFolder repository_;
  ModelConfig config_;
};

TEST_F(SealedVersionTest, BothFilesStayAsTheyWere) {
  const auto sealed = SealedVersion::Copy(Folder(), config_);
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  repository_.Write("cat/1/model.pt", "changed");
  repository_.Write("cat/1/model.pt2", "changed");
  EXPECT_EQ(ReadFile(sealed->folder().model_file), "script");
  EXPECT_EQ(ReadFile(sealed->folder().package_file), "code");
}

TEST_F(SealedVersionTest, APackageThatMayNotServeIsLeftOut) {
  config_.plans_forbidden = {Plan::kPackage};
  EXPECT_EQ(SealedVersion::Copy(Folder(), config_)->folder().package_file, "");
  config_ = {};
  config_.plan_threads = 1;  // It would run on others.
  EXPECT_EQ(SealedVersion::Copy(Folder(), config_)->folder().package_file, "");
  config_ = {};
  config_.plan = Plan::kGraph;
  EXPECT_EQ(SealedVersion::Copy(Folder(), config_)->folder().package_file, "");
  std::filesystem::remove(repository_.Path("cat/1/model.pt"));
  const auto lone = SealedVersion::Copy(Folder(), config_);
  EXPECT_EQ(lone->folder().model_file, "");
  EXPECT_EQ(ReadFile(lone->folder().package_file), "code");
}

TEST_F(SealedVersionTest, APackageThatCannotBeReadStopsOnlyWhoAsksForIt) {
  const VersionFolder folder = Folder();
  std::filesystem::remove(repository_.Path("cat/1/model.pt2"));
  EXPECT_EQ(SealedVersion::Copy(folder, config_)->folder().package_file, "");
  config_.plan = Plan::kPackage;
  EXPECT_EQ(SealedVersion::Copy(folder, config_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SealedVersionTest, ErrorsNameTheFilesOfTheOwner) {
  const auto sealed = SealedVersion::Copy(Folder(), config_);
  const absl::Status named = sealed->Named(absl::InternalError(
      sealed->folder().package_file + " is not as " + sealed->folder().model_file));
  EXPECT_EQ(named.message(), repository_.Path("cat/1/model.pt2") + " is not as " +
                                 repository_.Path("cat/1/model.pt"));
}

}  // namespace
}  // namespace torchd
