#include "server/registry/version_files.h"

#include <cstdint>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/config/triton_config.h"
#include "server/registry/labels.h"
#include "server/registry/repository.h"

namespace torchd {
namespace {

constexpr int64_t kTextFileBytesMax = int64_t{64} * 1024 * 1024;

absl::Status In(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// The file in the version's folder, else in the model's; empty when neither has it. An error when
// what is there is not to be read: a link that leaves the repository is not the same as no file.
absl::StatusOr<std::string> Find(const RootFolder& root, const Folders& folders,
                                 const std::string& file) {
  for (const std::string& folder : {folders.version, folders.model}) {
    std::string path = absl::StrCat(folder, "/", file);
    const absl::Status looked = root.LookAtFile(path).status();
    if (looked.ok()) return path;
    if (!absl::IsNotFound(looked)) return looked;
  }
  return "";
}

absl::Status CheckFileName(const std::string& name) {
  if (!absl::StrContains(name, "/") && !absl::StartsWith(name, ".") &&
      !absl::StrContains(name, absl::string_view("\0", 1))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("default_model_filename is \"", absl::CHexEscape(name.substr(0, 64)),
                   "\"; expected a file's name, without a folder or a leading dot"));
}

absl::StatusOr<FoundConfig> ReadModelYaml(const RootFolder& root, const std::string& path) {
  TORCHD_ASSIGN_OR_RETURN(const std::string yaml, root.Read(path, kTextFileBytesMax));
  auto config = ParseModelConfig(yaml);
  if (!config.ok()) return In(path, config.status());
  FoundConfig found;
  found.config = *std::move(config);
  return found;
}

absl::StatusOr<FoundConfig> ReadConfigPbtxt(const RootFolder& root, const std::string& path) {
  TORCHD_ASSIGN_OR_RETURN(const std::string text, root.Read(path, kTextFileBytesMax));
  auto triton = ParseTritonConfig(text);
  if (!triton.ok()) return In(path, triton.status());
  const absl::Status named = CheckFileName(triton->default_model_filename);
  if (!named.ok()) return In(path, named);
  FoundConfig found{std::move(triton->model),
                    std::move(triton->name),
                    std::move(triton->default_model_filename),
                    {}};
  for (const std::string& field : triton->not_honoured) {
    found.notes.push_back(absl::StrCat(kConfigPbtxt, ": ", field));
  }
  return found;
}

// Labels travel in messages that hold text only. A file that was named must be there; the usual
// ones may be absent.
absl::StatusOr<std::vector<std::string>> ReadLabels(const RootFolder& root, const Folders& folders,
                                                    const std::string& name) {
  if (name == kImagenetLabels) return ImagenetLabels();
  TORCHD_ASSIGN_OR_RETURN(std::string path, Find(root, folders, name));
  if (path.empty() && name == kLabelsFile) {
    TORCHD_ASSIGN_OR_RETURN(path, Find(root, folders, kTorchServeLabelsFile));
    if (path.empty()) return std::vector<std::string>();
  }
  if (path.empty()) {
    return absl::NotFoundError(
        absl::StrCat("labels: no file ", name, " in ", folders.version, " or ", folders.model));
  }
  TORCHD_ASSIGN_OR_RETURN(const std::string text, root.Read(path, kTextFileBytesMax));
  auto labels = absl::EndsWith(path, ".json") ? LabelsOfJson(text) : LabelsOfLines(text);
  if (labels.ok()) return labels;
  return absl::InvalidArgumentError(absl::StrCat(path, ":", labels.status().message()));
}

}  // namespace

absl::StatusOr<FoundConfig> ReadConfig(const RootFolder& root, const Folders& folders) {
  TORCHD_ASSIGN_OR_RETURN(const std::string yaml, Find(root, folders, kModelYaml));
  const absl::StatusOr<std::string> pbtxt =
      Find(root, {folders.model, folders.model}, kConfigPbtxt);
  const bool has_pbtxt = !pbtxt.ok() || !pbtxt->empty();
  if (!yaml.empty()) {
    TORCHD_ASSIGN_OR_RETURN(FoundConfig found, ReadModelYaml(root, yaml));
    if (has_pbtxt) {
      found.notes.push_back(
          absl::StrCat(kConfigPbtxt, " is not read, because there is a ", kModelYaml));
    }
    return found;
  }
  if (!has_pbtxt) return FoundConfig();
  TORCHD_RETURN_IF_ERROR(pbtxt.status());
  return ReadConfigPbtxt(root, *pbtxt);
}

absl::StatusOr<VersionFiles> ReadVersionFiles(const VersionFolder& folder) {
  const Folders folders = {folder.folder, folder.model_folder};
  TORCHD_ASSIGN_OR_RETURN(
      const RootFolder root,
      RootFolder::Open(folder.repository.empty() ? folder.model_folder : folder.repository));
  TORCHD_ASSIGN_OR_RETURN(FoundConfig found, ReadConfig(root, folders));
  VersionFiles files;
  files.config = std::move(found.config);
  TORCHD_ASSIGN_OR_RETURN(files.labels, ReadLabels(root, folders, files.config.labels));
  if (files.config.text) {
    std::string& name = files.config.text->vocabulary;
    TORCHD_ASSIGN_OR_RETURN(std::string path, Find(root, folders, name));
    if (path.empty() && name == kVocabularyFile) {
      TORCHD_ASSIGN_OR_RETURN(path, Find(root, folders, kTokenizerFile));
      if (!path.empty()) name = kTokenizerFile;
    }
    if (path.empty()) {
      return absl::NotFoundError(absl::StrCat("no vocabulary ", name, " in ", folder.model_folder));
    }
    TORCHD_ASSIGN_OR_RETURN(files.vocabulary, root.Read(path, kTextFileBytesMax));
  }
  return files;
}

}  // namespace torchd
