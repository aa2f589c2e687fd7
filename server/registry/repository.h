// The model repository on disk, in three layouts:
//   <repository>/<model>/<version>/model.pt or model.pt2: our own
//   the same with <model>/config.pbtxt: Triton's
//   <repository>/model.pt or model.pt2: one model, version 1, as KServe mounts it, where no folder
//   holds a version
// model.yaml, labels.txt and a vocabulary stand in the version's folder or, for all versions, in
// the model's. docs/model-config.md is the manual.
//
// Links are followed only where their real path stays inside the repository (root_folder.h).
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/model_config.h"
#include "server/config/version_policy.h"

namespace torchd {

struct VersionFolder {
  std::string name;
  int64_t version = 0;
  std::string model_folder;  // <repository>/<model>
  std::string folder;        // <repository>/<model>/<version>
  absl::Status status;       // Why it cannot be loaded, as far as the folders tell.

  std::string repository = {};    // Its files must stay inside; empty: inside `model_folder`.
  std::string model_file = {};    // TorchScript; real path inside the repository; empty: none.
  std::string package_file = {};  // The same version as a .pt2; likewise.
  uint64_t fingerprint = 0;       // Changes with any file that belongs to the version.

  // What is loaded: model.pt where there are both.
  std::string ModelFile() const;
};

struct ModelOnDisk {
  std::string name;    // By the grammar; else `status` says that it is not, and odd bytes are \xHH.
  std::string folder;  // <repository>/<model>
  absl::Status status;  // Why none of it can be loaded; then it is each version's status, too.
  // The entry 0 stands alone and has the reason where there are none (NOT_FOUND) or nobody can tell
  // (any other error).
  std::map<int64_t, VersionFolder> versions;
  std::vector<std::string> notes;  // What its owner should know though it works; at most 100.
  VersionPolicy policy;            // With the labels: the defaults where `status` is not OK.
  std::map<std::string, int64_t> version_labels;
  uint64_t fingerprint = 0;  // Of all but the versions.
};

// kUnknown: it holds nothing yet that could be a model's.
enum class Layout { kUnknown, kModels, kSingleModel };

struct RepositorySnapshot {
  std::map<std::string, ModelOnDisk> models;
  Layout layout = Layout::kUnknown;
  std::vector<std::string> notes;  // Of the repository itself: what in it does not count.
};

struct ScanOptions {
  std::string model_name = {};  // Of a model in the repository itself; empty: as ModelNameOf().
  int models_max = 10'000;      // Beyond: no snapshot.
  int versions_max = 10'000;    // Beyond: the model has none.
  Layout layout = Layout::kUnknown;  // Of the scan before: it stands while it can.
};

// Everything beside the model file that belongs to a version.
struct VersionFiles {
  ModelConfig config;
  std::vector<std::string> labels;
  std::string vocabulary;  // Contents; empty without a `text:` section.
};

// INVALID_ARGUMENT unless [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}. Clients name models by this, never by
// a path.
absl::Status CheckModelName(absl::string_view name);

// NOT_FOUND: the repository holds none of this name, whatever characters a client put into it.
absl::Status NoModel(absl::string_view name);

// The last folder of `path`, made to fit the grammar: "models" of "/mnt/models".
std::string ModelNameOf(const std::string& path);

// What the repository holds. A model or version that is unfit is in it, with the reason. Paths in
// it start with the repository's real path, so that they stay together when `repository` is a link
// that is moved on. NOT_FOUND when `repository` is no folder; other errors name what cannot be
// read.
absl::StatusOr<RepositorySnapshot> ScanRepository(const std::string& repository,
                                                  const ScanOptions& options = {});

// Every version, by name and number.
std::vector<VersionFolder> AllVersions(const RepositorySnapshot& snapshot);

// Reads model.yaml or config.pbtxt, labels and vocabulary. Errors name the file.
absl::StatusOr<VersionFiles> ReadVersionFiles(const VersionFolder& folder);

}  // namespace torchd
