// A TorchScript classifier on the CPU.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/model_config.h"
#include "server/config/plan.h"
#include "server/inference/model.h"

namespace torchd {

class TorchModel {
 public:
  // Reads the archive, makes it ready to run by `plan`, and tries it once. Where `config` declares
  // no inputs they follow from its `image:` or `text:` section; failing that a picture of
  // [3,224,224] is tried. NOT_FOUND without a file; INTERNAL when LibTorch rejects it;
  // INVALID_ARGUMENT when the model and its configuration contradict each other. Where `plan` has
  // all threads of an executor, the configuration may say fewer. Runs on a thread prepared by
  // PrepareLoaderThread().
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path,
                                                     const ModelConfig& config,
                                                     TeamedPlan plan = kDefaultPlan);
};

}  // namespace torchd
