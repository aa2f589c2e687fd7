// The files beside a model: which of them counts, and what its configuration says. Private to the
// folder `registry`; ReadVersionFiles() is declared in repository.h.
//
// Thread-safety: functions without state.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/model_config.h"
#include "server/registry/root_folder.h"

namespace torchd {

inline constexpr char kModelFile[] = "model.pt";
inline constexpr char kPackageFile[] = "model.pt2";
inline constexpr char kModelYaml[] = "model.yaml";
inline constexpr char kConfigPbtxt[] = "config.pbtxt";

// A version's folder and its model's; the same one where the model lies in the repository itself.
struct Folders {
  std::string version;
  std::string model;
};

struct FoundConfig {
  ModelConfig config;
  std::string name;                // As config.pbtxt says; empty: it does not.
  std::string model_filename;      // Likewise; empty: the usual ones.
  std::vector<std::string> notes;  // What of it is not honoured.
};

// model.yaml of the version, else of the model, else the model's config.pbtxt, else the defaults.
// Errors name the file. The only reader of either.
absl::StatusOr<FoundConfig> ReadConfig(const RootFolder& root, const Folders& folders);

}  // namespace torchd
