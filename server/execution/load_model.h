// From a file to a model that runs: the daemon's one way in.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/config/model_config.h"
#include "server/config/plan.h"
#include "server/inference/model.h"

namespace torchd {

// An AOTInductor package where the file's name ends with ".pt2" (AotiModel), else TorchScript
// (TorchModel), whose contracts hold. `plan` is for TorchScript; where it is of kPackage, `package`
// is the same model as a package (PackagedModel).
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path, const ModelConfig& config,
                                                 TeamedPlan plan = kDefaultPlan,
                                                 const std::string& package = {});

}  // namespace torchd
