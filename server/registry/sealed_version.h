// The model files of a version as they are now (sealed_file.h).
//
// Thread-safety: none; one owner. The bytes are in memory as long as it lives.
#pragma once

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/config/model_config.h"
#include "server/registry/repository.h"
#include "server/registry/sealed_file.h"

namespace torchd {

// Whether the version's model.pt2 may serve in place of its model.pt: both are there, and the
// configuration lets it.
bool PackageMayServe(const VersionFolder& folder, const ModelConfig& config);

class SealedVersion {
 public:
  // Of model.pt where there are both; also of model.pt2 where that may serve. One that may but is
  // unreadable is left out, unless `config` asks for it.
  static absl::StatusOr<SealedVersion> Copy(const VersionFolder& folder, const ModelConfig& config);

  // As the original, but its model files are the copies.
  const VersionFolder& folder() const { return folder_; }

  // With the files named as their owner does.
  absl::Status Named(const absl::Status& status) const;

 private:
  explicit SealedVersion(const VersionFolder& folder) : original_(folder), folder_(folder) {}

  VersionFolder original_;
  VersionFolder folder_;
  std::optional<SealedFile> model_;
  std::optional<SealedFile> package_;
};

}  // namespace torchd
