#include "server/registry/repository.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/base/utf8.h"

namespace torchd {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNameLengthMax = 128;
constexpr int64_t kTextFileBytesMax = int64_t{64} * 1024 * 1024;

// Names in a folder, sorted; those that start with a dot (half-copied, .git) are left out.
absl::StatusOr<std::vector<std::string>> FoldersIn(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!it->is_directory(ignored)) continue;
    const std::string name = it->path().filename().string();
    if (!absl::StartsWith(name, ".")) names.push_back(name);
  }
  if (error) {
    return absl::FailedPreconditionError(
        absl::StrCat("cannot read the folder ", folder, ": ", error.message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// A version number is written as it is read back: no sign, no leading zero.
bool ParseVersion(const std::string& text, int64_t& version) {
  return absl::SimpleAtoi(text, &version) && version > 0 && absl::StrCat(version) == text;
}

void AddVersions(const std::string& repository, const std::string& name,
                 std::vector<VersionFolder>& folders) {
  const std::string model_folder = repository + "/" + name;
  const auto unusable = [&](absl::Status why) {
    // A name outside the grammar need not even be text.
    folders.push_back({absl::CHexEscape(name), 0, model_folder, model_folder, std::move(why)});
  };
  const absl::Status grammar = CheckModelName(name);
  if (!grammar.ok()) return unusable(grammar);
  const auto versions = FoldersIn(model_folder);
  if (!versions.ok()) return unusable(versions.status());
  const size_t before = folders.size();
  for (const std::string& text : *versions) {
    int64_t version = 0;
    if (!ParseVersion(text, version)) continue;
    VersionFolder folder{name, version, model_folder, absl::StrCat(model_folder, "/", text), {}};
    std::error_code ignored;
    if (!fs::is_regular_file(folder.ModelFile(), ignored)) {
      folder.status = absl::NotFoundError(absl::StrCat("no model file ", folder.ModelFile()));
    }
    folders.push_back(std::move(folder));
  }
  if (folders.size() == before) {
    unusable(absl::NotFoundError(
        absl::StrCat("no version in ", model_folder, "; expected ", model_folder, "/1/model.pt")));
  }
  std::sort(folders.begin() + static_cast<std::ptrdiff_t>(before), folders.end(),
            [](const auto& a, const auto& b) { return a.version < b.version; });
}

// The file in the version's folder, else in the model's; empty when neither has it.
std::string Find(const VersionFolder& folder, const std::string& file) {
  for (const std::string& where : {folder.folder, folder.model_folder}) {
    std::error_code ignored;
    std::string path = absl::StrCat(where, "/", file);
    if (fs::is_regular_file(path, ignored)) return path;
  }
  return "";
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::error_code error;
  const auto size = fs::file_size(path, error);
  if (!error && size > kTextFileBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has ", size, " bytes; at most ", kTextFileBytesMax));
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream contents;
  contents << file.rdbuf();
  if (!file) return absl::FailedPreconditionError(absl::StrCat("cannot read ", path));
  return contents.str();
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    absl::StripTrailingAsciiWhitespace(&line);
    lines.push_back(line);
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

// Labels travel in messages that hold text only. A file that was named must be there; the usual one
// may be absent.
absl::StatusOr<std::vector<std::string>> ReadLabels(const VersionFolder& folder,
                                                    const std::string& name) {
  const std::string path = Find(folder, name);
  if (path.empty()) {
    if (name == ModelConfig().labels) return std::vector<std::string>();
    return absl::NotFoundError(
        absl::StrCat("labels: no file ", name, " in ", folder.folder, " or ", folder.model_folder));
  }
  TORCHD_ASSIGN_OR_RETURN(const std::string text, ReadText(path));
  std::vector<std::string> labels = Lines(text);
  for (size_t i = 0; i < labels.size(); ++i) {
    if (IsUtf8(labels[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat(path, ":", i + 1, ": expected UTF-8, got \"",
                                                   absl::CHexEscape(labels[i]), "\""));
  }
  return labels;
}

}  // namespace

absl::Status CheckModelName(absl::string_view name) {
  const auto legal = [](char c, bool first) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
           (!first && (c == '.' || c == '-'));
  };
  bool ok = !name.empty() && name.size() <= kNameLengthMax;
  for (size_t i = 0; ok && i < name.size(); ++i) ok = legal(name[i], i == 0);
  if (ok) return absl::OkStatus();
  std::string shown;
  for (const char c : name.substr(0, 40)) shown += legal(c, false) ? c : '?';
  return absl::InvalidArgumentError(
      absl::StrCat("'", shown, name.size() > 40 ? "..." : "", "' (", name.size(),
                   " bytes) is no model name: expected a letter, digit or '_', then up to 127 "
                   "letters, digits, '_', '.' or '-'"));
}

absl::StatusOr<std::vector<VersionFolder>> ScanRepository(const std::string& repository) {
  std::error_code ignored;
  if (!fs::is_directory(repository, ignored)) {
    return absl::NotFoundError(absl::StrCat("model_repository '", repository, "' is no folder"));
  }
  TORCHD_ASSIGN_OR_RETURN(const std::vector<std::string> names, FoldersIn(repository));
  std::vector<VersionFolder> folders;
  for (const std::string& name : names) AddVersions(repository, name, folders);
  return folders;
}

absl::StatusOr<VersionFiles> ReadVersionFiles(const VersionFolder& folder) {
  VersionFiles files;
  std::string yaml;
  const std::string config_path = Find(folder, "model.yaml");
  if (!config_path.empty()) {
    TORCHD_ASSIGN_OR_RETURN(yaml, ReadText(config_path));
  }
  auto config = ParseModelConfig(yaml);
  if (!config.ok()) {
    return absl::Status(config.status().code(),
                        absl::StrCat(config_path, ": ", config.status().message()));
  }
  files.config = *std::move(config);
  TORCHD_ASSIGN_OR_RETURN(files.labels, ReadLabels(folder, files.config.labels));
  if (files.config.text) {
    const std::string path = Find(folder, files.config.text->vocabulary);
    if (path.empty()) {
      return absl::NotFoundError(absl::StrCat("no vocabulary ", files.config.text->vocabulary,
                                              " in ", folder.model_folder));
    }
    TORCHD_ASSIGN_OR_RETURN(files.vocabulary, ReadText(path));
  }
  return files;
}

}  // namespace torchd
