// The model repository on disk: <repo>/<model>/<version>/model.pt, with model.yaml, labels.txt and
// a vocabulary in the version's folder or, for all versions, in the model's.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/model_config.h"

namespace torchd {

struct VersionFolder {
  std::string name;
  int64_t version = 0;
  std::string model_folder;  // <repo>/<model>
  std::string folder;        // <repo>/<model>/<version>
  absl::Status status;       // Why it cannot be loaded, as far as the folders tell.

  std::string ModelFile() const { return folder + "/model.pt"; }
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

// Every version, by name and number; a model folder without one appears as version 0 with the
// reason. NOT_FOUND when `repository` is no folder; other errors name what cannot be read.
absl::StatusOr<std::vector<VersionFolder>> ScanRepository(const std::string& repository);

// Reads model.yaml, labels and vocabulary. Errors name the file.
absl::StatusOr<VersionFiles> ReadVersionFiles(const VersionFolder& folder);

}  // namespace torchd
