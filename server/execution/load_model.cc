#include "server/execution/load_model.h"

#include "absl/strings/match.h"
#include "server/execution/aoti_model.h"
#include "server/execution/torch_model.h"

namespace torchd {

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path, const ModelConfig& config,
                                                 Plan plan) {
  return absl::EndsWith(path, ".pt2") ? AotiModel::Load(path, config)
                                      : TorchModel::Load(path, config, plan);
}

}  // namespace torchd
