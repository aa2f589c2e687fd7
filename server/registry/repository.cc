#include "server/registry/repository.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/config/names.h"
#include "server/registry/fingerprint.h"
#include "server/registry/layout.h"
#include "server/registry/root_folder.h"
#include "server/registry/version_files.h"

namespace torchd {
namespace {

constexpr size_t kNotesMax = 100;

// A folder's name that is no model's, for a listing: ASCII, as the wire wants UTF-8. No two names
// look alike, and none looks like a model's: what makes it none stays visible.
std::string Harmless(absl::string_view name) {
  std::string shown;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isprint(byte) && c != '\\') {
      shown += c;
    } else {
      absl::StrAppend(&shown, "\\x", absl::Hex(byte, absl::kZeroPad2));
    }
  }
  return shown;
}

void AddNote(ModelOnDisk& model, std::string note) {
  if (model.notes.size() < kNotesMax) model.notes.push_back(std::move(note));
}

// --- Fingerprints. ---

// ctime tells what mtime does not: a mended permission, contents replaced under the old time. A
// hard link or a rename changes it as well, once: that costs a copy of the same.
void AddFile(const RootFolder& root, const std::string& folder, const std::string& name,
             Fingerprint& fingerprint) {
  const auto entry = root.Look(absl::StrCat(folder, "/", name));
  if (absl::IsNotFound(entry.status()) || (entry.ok() && entry->is_folder())) return;
  fingerprint.Add(name);
  if (!entry.ok()) return fingerprint.Add(absl::string_view(entry.status().message()));
  fingerprint.Add(static_cast<uint64_t>(entry->stat.st_ino));
  fingerprint.Add(static_cast<uint64_t>(entry->stat.st_size));
  fingerprint.Add(static_cast<uint64_t>(entry->stat.st_mode));
  for (const timespec& time : {entry->stat.st_mtim, entry->stat.st_ctim}) {
    fingerprint.Add(static_cast<uint64_t>(time.tv_sec));
    fingerprint.Add(static_cast<uint64_t>(time.tv_nsec));
  }
}

uint64_t FingerprintOf(const RootFolder& root, const VersionFolder& version,
                       const ModelConfig& config) {
  Fingerprint fingerprint;
  const auto names = root.List(version.folder);
  for (size_t i = 0; names.ok() && i < names->size(); ++i) {
    AddFile(root, version.folder, names->at(i), fingerprint);
  }
  if (version.model_folder != version.folder) {
    for (const std::string& name :
         {std::string(kModelYaml), std::string(kConfigPbtxt), config.labels,
          std::string(kTorchServeLabelsFile), config.text.value_or(TextConfig()).vocabulary,
          std::string(kTokenizerFile)}) {
      fingerprint.Add("beside the versions");
      AddFile(root, version.model_folder, name, fingerprint);
    }
  }
  fingerprint.Add(absl::string_view(version.status.message()));
  fingerprint.Add(version.model_file);
  fingerprint.Add(version.package_file);
  return fingerprint.value();
}

uint64_t FingerprintOf(const RootFolder& root, const ModelOnDisk& model) {
  Fingerprint fingerprint;
  AddFile(root, model.folder, kModelYaml, fingerprint);
  AddFile(root, model.folder, kConfigPbtxt, fingerprint);
  fingerprint.Add(absl::string_view(model.status.message()));
  for (const std::string& note : model.notes) fingerprint.Add(note);
  return fingerprint.value();
}

// --- One version. ---

// The real path of a model file; empty when there is none.
absl::StatusOr<std::string> FileAt(const RootFolder& root, const std::string& path) {
  auto entry = root.LookAtFile(path);
  if (absl::IsNotFound(entry.status())) return std::string();
  TORCHD_RETURN_IF_ERROR(entry.status());
  return std::move(entry->real_path);
}

// The one file that config.pbtxt names.
absl::Status FindNamedFile(const RootFolder& root, const std::string& name,
                           VersionFolder& version) {
  const std::string path = absl::StrCat(version.folder, "/", name);
  std::string& target = absl::EndsWith(name, ".pt2") ? version.package_file : version.model_file;
  TORCHD_ASSIGN_OR_RETURN(target, FileAt(root, path));
  return target.empty() ? absl::NotFoundError(absl::StrCat("no model file ", path))
                        : absl::OkStatus();
}

absl::Status FindModelFiles(const RootFolder& root, VersionFolder& version, ModelOnDisk& model) {
  const std::string& folder = version.folder;
  TORCHD_ASSIGN_OR_RETURN(version.model_file, FileAt(root, absl::StrCat(folder, "/", kModelFile)));
  const auto package = FileAt(root, absl::StrCat(folder, "/", kPackageFile));
  version.package_file = package.value_or("");
  if (!version.model_file.empty()) {  // An alternative that is unfit does not stop the model.
    if (!package.ok()) AddNote(model, std::string(package.status().message()));
    return absl::OkStatus();
  }
  TORCHD_RETURN_IF_ERROR(package.status());
  if (!version.package_file.empty()) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("no model file ", folder, "/", kModelFile, " or ", kPackageFile));
}

// --- One model. ---

// What a scan carries from the repository down to each version.
struct Scan {
  const RootFolder& root;
  const ScanOptions& options;
};

// A version's own model.yaml counts before its model's configuration.
absl::StatusOr<ModelConfig> ConfigOf(const Scan& scan, const FoundConfig& of_model,
                                     const VersionFolder& version, ModelOnDisk& model) {
  const bool has_own =
      version.folder != model.folder &&
      !absl::IsNotFound(scan.root.Look(absl::StrCat(version.folder, "/", kModelYaml)).status());
  if (!has_own) return of_model.config;
  TORCHD_ASSIGN_OR_RETURN(FoundConfig own, ReadConfig(scan.root, {version.folder, model.folder}));
  if (own.config.version_policy || !own.config.version_labels.empty()) {
    own.notes.push_back(
        "its versions and version_labels are not honoured; they count in the "
        "model's folder alone");
  }
  for (const std::string& note : own.notes) {
    AddNote(model, absl::StrCat("version ", version.version, ": ", note));
  }
  return std::move(own.config);
}

absl::Status CheckVersion(const Scan& scan, const FoundConfig& config, VersionFolder& version,
                          ModelOnDisk& model) {
  TORCHD_RETURN_IF_ERROR(model.status);
  TORCHD_RETURN_IF_ERROR(scan.root.Look(version.folder).status());
  if (!config.model_filename.empty()) {
    return FindNamedFile(scan.root, config.model_filename, version);
  }
  return FindModelFiles(scan.root, version, model);
}

// `config`: of the model.
void AddVersion(const Scan& scan, const FoundConfig& config, int64_t number,
                const std::string& folder, ModelOnDisk& model) {
  VersionFolder version;
  version.name = model.name;
  version.version = number;
  version.model_folder = model.folder;
  version.folder = folder;
  version.repository = scan.root.path();
  version.status = CheckVersion(scan, config, version, model);
  auto own = ConfigOf(scan, config, version, model);
  if (version.status.ok()) version.status = own.status();
  version.fingerprint = FingerprintOf(scan.root, version, own.ok() ? *own : config.config);
  model.versions[number] = std::move(version);
}

// The numbers of the versions. A link that is unfit counts: the listing says why.
absl::StatusOr<std::vector<int64_t>> VersionsIn(const Scan& scan, const std::string& folder) {
  TORCHD_ASSIGN_OR_RETURN(const std::vector<std::string> names, scan.root.List(folder));
  std::vector<int64_t> versions;
  for (const std::string& name : names) {
    int64_t version = 0;
    if (!ParseVersion(name, version)) continue;
    const auto entry = scan.root.Look(absl::StrCat(folder, "/", name));
    if (absl::IsNotFound(entry.status()) || (entry.ok() && !entry->is_folder())) continue;
    versions.push_back(version);
  }
  if (versions.size() > static_cast<size_t>(scan.options.versions_max)) {
    return absl::ResourceExhaustedError(absl::StrCat(
        folder, " has ", versions.size(), " versions; at most ", scan.options.versions_max));
  }
  if (versions.empty()) {
    return absl::NotFoundError(absl::StrCat("no version in ", folder, "; expected ", folder, "/1/",
                                            kModelFile, " or ", kPackageFile));
  }
  return versions;
}

FoundConfig AddConfig(const Scan& scan, ModelOnDisk& model) {
  auto read = ReadConfig(scan.root, {model.folder, model.folder});
  if (!read.ok()) {
    model.status = read.status();
    return {};
  }
  FoundConfig config = *std::move(read);
  model.policy = config.config.version_policy.value_or(VersionPolicy());
  model.version_labels = config.config.version_labels;
  for (const std::string& note : config.notes) AddNote(model, note);
  if (!config.name.empty() && config.name != model.name) {
    AddNote(model,
            absl::StrCat(kConfigPbtxt, ": name \"", Harmless(config.name.substr(0, kNameLengthMax)),
                         "\" is not honoured; the model is called \"", model.name, "\""));
  }
  return config;
}

void MakeUnfit(const Scan& scan, ModelOnDisk& model, absl::Status why) {
  model.status = std::move(why);
  VersionFolder version;
  version.name = model.name;
  version.model_folder = version.folder = model.folder;
  version.repository = scan.root.path();
  version.status = model.status;
  Fingerprint fingerprint;
  fingerprint.Add(absl::string_view(model.status.message()));
  version.fingerprint = fingerprint.value();
  model.versions = {{0, std::move(version)}};
}

void AddVersions(const Scan& scan, ModelOnDisk& model) {
  const FoundConfig config = AddConfig(scan, model);
  const auto versions = VersionsIn(scan, model.folder);
  if (!versions.ok()) return MakeUnfit(scan, model, versions.status());
  for (const int64_t version : *versions) {
    AddVersion(scan, config, version, absl::StrCat(model.folder, "/", version), model);
  }
}

// `looked`: at the model's folder.
ModelOnDisk ReadModel(const Scan& scan, const std::string& name, const absl::Status& looked) {
  ModelOnDisk model;
  model.name = Harmless(name);
  model.folder = absl::StrCat(scan.root.path(), "/", name);
  const absl::Status named = CheckModelName(name);
  if (!named.ok()) {
    MakeUnfit(scan, model, named);
  } else if (!looked.ok()) {
    MakeUnfit(scan, model, looked);
  } else {
    AddVersions(scan, model);
  }
  model.fingerprint = FingerprintOf(scan.root, model);
  return model;
}

// --- The repository. ---

ModelOnDisk ReadSingleModel(const Scan& scan, const std::string& name, bool has_folders) {
  ModelOnDisk model;
  model.name = name;
  model.folder = scan.root.path();
  const FoundConfig config = AddConfig(scan, model);
  AddVersion(scan, config, 1, model.folder, model);
  if (has_folders) {
    AddNote(model, absl::StrCat("a model file lies in ", model.folder,
                                " itself, so the folders there are not read"));
  }
  model.fingerprint = FingerprintOf(scan.root, model);
  return model;
}

// Each folder, and each link that is unfit, with its status. A link called like a model file is
// meant as one.
absl::StatusOr<std::map<std::string, absl::Status>> FoldersIn(const RootFolder& root) {
  TORCHD_ASSIGN_OR_RETURN(const std::vector<std::string> names, root.List(root.path()));
  std::map<std::string, absl::Status> folders;
  for (const std::string& name : names) {
    const auto entry = root.Look(absl::StrCat(root.path(), "/", name));
    if (absl::IsNotFound(entry.status()) || (entry.ok() && !entry->is_folder())) continue;
    if (!entry.ok() && (name == kModelFile || name == kPackageFile)) continue;
    folders.emplace(name, entry.status());
  }
  return folders;
}

// Whether any of them could be a model's: lost+found could not.
bool HoldsNames(const std::map<std::string, absl::Status>& folders) {
  return std::any_of(folders.begin(), folders.end(),
                     [](const auto& folder) { return IsName(folder.first); });
}

}  // namespace

std::string VersionFolder::ModelFile() const {
  if (!model_file.empty()) return model_file;
  return package_file.empty() ? absl::StrCat(folder, "/", kModelFile) : package_file;
}

namespace {

// A client's word in our message: quoted, cut, and only characters that a name may have.
std::string ShownName(absl::string_view name, size_t most) {
  std::string shown = "'";
  for (const char c : name.substr(0, most)) shown += IsNameCharacter(c, false) ? c : '?';
  return shown + (name.size() > most ? "...'" : "'");
}

}  // namespace

absl::Status CheckModelName(absl::string_view name) {
  if (IsName(name)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(ShownName(name, 40), " (", name.size(),
                   " bytes) is no model name: expected a letter, digit or '_', then up to 127 "
                   "letters, digits, '_', '.' or '-'"));
}

absl::Status NoModel(absl::string_view name) {
  return absl::NotFoundError(
      absl::StrCat("no model ", ShownName(name, kNameLengthMax), " in the repository"));
}

std::string ModelNameOf(const std::string& path) {
  std::error_code ignored;
  std::filesystem::path folder = std::filesystem::absolute(path, ignored).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();  // After a slash at the end.
  std::string name = folder.filename().string().substr(0, kNameLengthMax);
  for (size_t i = 0; i < name.size(); ++i) {
    if (!IsNameCharacter(name[i], i == 0)) name[i] = '_';
  }
  return name.empty() ? "model" : name;
}

absl::StatusOr<RepositorySnapshot> ScanRepository(const std::string& repository,
                                                  const ScanOptions& options) {
  if (!options.model_name.empty()) TORCHD_RETURN_IF_ERROR(CheckModelName(options.model_name));
  TORCHD_ASSIGN_OR_RETURN(const RootFolder given, RootFolder::Open(repository));
  TORCHD_ASSIGN_OR_RETURN(const RootFolder root, RootFolder::Open(given.real_path()));
  TORCHD_ASSIGN_OR_RETURN(const auto folders, FoldersIn(root));
  const Scan scan = {root, options};
  RepositorySnapshot snapshot;
  const FoundLayout found = FindLayout(root, folders, options.layout);
  if (found.layout == Layout::kSingleModel) {
    ModelOnDisk model = ReadSingleModel(
        scan, options.model_name.empty() ? ModelNameOf(repository) : options.model_name,
        HoldsNames(folders));
    snapshot.models.emplace(model.name, std::move(model));
    snapshot.layout = found.layout;
    return snapshot;
  }
  if (folders.size() > static_cast<size_t>(options.models_max)) {
    return absl::ResourceExhaustedError(absl::StrCat("the repository ", repository, " has ",
                                                     folders.size(), " models; at most ",
                                                     options.models_max));
  }
  for (const auto& folder : folders) {
    ModelOnDisk model = ReadModel(scan, folder.first, folder.second);
    snapshot.models.emplace(model.name, std::move(model));
  }
  if (HoldsNames(folders)) snapshot.layout = found.layout;
  for (const std::string& name : found.strays) {
    snapshot.notes.push_back(absl::StrCat(root.path(), "/", name,
                                          " is not honoured: the repository holds folders of "
                                          "models"));
  }
  return snapshot;
}

std::vector<VersionFolder> AllVersions(const RepositorySnapshot& snapshot) {
  std::vector<VersionFolder> all;
  for (const auto& model : snapshot.models) {
    for (const auto& version : model.second.versions) all.push_back(version.second);
  }
  return all;
}

}  // namespace torchd
