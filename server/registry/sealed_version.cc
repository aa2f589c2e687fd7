#include "server/registry/sealed_version.h"

#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

bool Pinned(const ModelConfig& config) { return config.plan == Plan::kPackage; }

}  // namespace

bool PackageMayServe(const VersionFolder& folder, const ModelConfig& config) {
  if (folder.model_file.empty() || folder.package_file.empty()) return false;
  if (config.plan) return Pinned(config);
  // It would have other threads than the configuration says.
  return config.plans_forbidden.count(Plan::kPackage) == 0 && config.plan_threads == 0;
}

absl::StatusOr<SealedVersion> SealedVersion::Copy(const VersionFolder& folder,
                                                  const ModelConfig& config) {
  SealedVersion sealed(folder);
  TORCHD_ASSIGN_OR_RETURN(SealedFile model, SealedFile::Copy(folder.ModelFile()));
  const bool lone_package = folder.model_file.empty() && !folder.package_file.empty();
  (lone_package ? sealed.folder_.package_file : sealed.folder_.model_file) = model.path();
  sealed.model_.emplace(std::move(model));
  if (lone_package) return sealed;
  sealed.folder_.package_file.clear();
  if (!PackageMayServe(folder, config)) return sealed;
  auto package = SealedFile::Copy(folder.package_file);
  if (package.ok()) {
    sealed.folder_.package_file = package->path();
    sealed.package_.emplace(*std::move(package));
    return sealed;
  }
  if (Pinned(config)) return package.status();
  Log(Severity::kWarning, "package not tried",
      {{"model", folder.name}, {"reason", std::string(package.status().message())}});
  return sealed;
}

absl::Status SealedVersion::Named(const absl::Status& status) const {
  std::vector<std::pair<std::string, std::string>> names = {
      {folder_.ModelFile(), original_.ModelFile()}};
  if (package_) names.emplace_back(folder_.package_file, original_.package_file);
  return absl::Status(status.code(), absl::StrReplaceAll(status.message(), names));
}

}  // namespace torchd
