// A model that is there twice: as TorchScript and as a package. The package runs; should it fail
// where the TorchScript model as it was saved does not, that one does.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/config/model_config.h"
#include "server/inference/model.h"

namespace torchd {

class PackagedModel {
 public:
  // Inputs and outputs are called as those of `script`. As TorchModel::Load() and AotiModel::Load()
  // say; INVALID_ARGUMENT when the two do not take and give the same.
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& script,
                                                     const std::string& package,
                                                     const ModelConfig& config);
};

}  // namespace torchd
