#include "server/registry/layout.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/config/names.h"
#include "server/registry/version_files.h"

namespace torchd {
namespace {

// An unfit link counts: the listing says why.
bool HoldsFile(const RootFolder& root, const std::string& name) {
  const auto entry = root.Look(absl::StrCat(root.path(), "/", name));
  return !absl::IsNotFound(entry.status()) && !(entry.ok() && entry->is_folder());
}

// In the root itself.
std::vector<std::string> ModelFilesIn(const RootFolder& root) {
  std::vector<std::string> files = {kModelFile, kPackageFile};
  const auto config = ReadConfig(root, {root.path(), root.path()});
  if (config.ok() && !config->model_filename.empty()) files.push_back(config->model_filename);
  std::erase_if(files, [&](const std::string& name) { return !HoldsFile(root, name); });
  return files;
}

bool HoldsVersion(const RootFolder& root, const std::string& folder) {
  const auto names = root.List(folder);
  return names.ok() && std::any_of(names->begin(), names->end(), [&](const std::string& name) {
           int64_t version = 0;
           if (!ParseVersion(name, version)) return false;
           const auto entry = root.Look(absl::StrCat(folder, "/", name));
           return entry.ok() ? entry->is_folder() : !absl::IsNotFound(entry.status());
         });
}

}  // namespace

bool ParseVersion(const std::string& text, int64_t& version) {
  return absl::SimpleAtoi(text, &version) && version > 0 && absl::StrCat(version) == text;
}

FoundLayout FindLayout(const RootFolder& root, const std::map<std::string, absl::Status>& folders,
                       Layout before) {
  std::vector<std::string> files = ModelFilesIn(root);
  // It has a model's configuration, and nothing else can be meant.
  const bool described = std::none_of(folders.begin(), folders.end(),
                                      [](const auto& folder) { return IsName(folder.first); }) &&
                         HoldsFile(root, kConfigPbtxt);
  if (before == Layout::kModels) return {Layout::kModels, std::move(files)};
  if (before == Layout::kUnknown && files.empty() && !described) return {};
  if (before == Layout::kSingleModel && !files.empty()) return {Layout::kSingleModel, {}};
  const bool holds_models = std::any_of(folders.begin(), folders.end(), [&](const auto& folder) {
    return IsName(folder.first) && HoldsVersion(root, absl::StrCat(root.path(), "/", folder.first));
  });
  if (holds_models) return {Layout::kModels, std::move(files)};
  return {Layout::kSingleModel, {}};
}

}  // namespace torchd
