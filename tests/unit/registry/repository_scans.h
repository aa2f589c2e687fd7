// Scans of repositories in temp folders, for the tests of repository.h.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/registry/repository.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {

inline RepositorySnapshot Scan(const TempFolder& repository, const ScanOptions& options = {}) {
  auto snapshot = ScanRepository(repository.path(), options);
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  return snapshot.ok() ? *std::move(snapshot) : RepositorySnapshot();
}

// "name/version", in order.
inline std::vector<std::string> Found(const TempFolder& repository,
                                      const ScanOptions& options = {}) {
  std::vector<std::string> found;
  for (const VersionFolder& folder : AllVersions(Scan(repository, options))) {
    found.push_back(absl::StrCat(folder.name, "/", folder.version));
  }
  return found;
}

inline VersionFolder Version(const TempFolder& repository, const std::string& name,
                             int64_t version) {
  const RepositorySnapshot snapshot = Scan(repository);
  const auto model = snapshot.models.find(name);
  if (model == snapshot.models.end() || model->second.versions.count(version) == 0) {
    ADD_FAILURE() << "no " << name << "/" << version;
    return {};
  }
  return model->second.versions.at(version);
}

inline void Link(const TempFolder& repository, const std::string& name, const std::string& target) {
  std::filesystem::create_directories(std::filesystem::path(repository.Path(name)).parent_path());
  std::filesystem::create_symlink(target, repository.Path(name));
}

}  // namespace torchd
