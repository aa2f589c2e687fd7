#include "server/execution/load_model.h"

#include "absl/strings/match.h"
#include "server/execution/aoti_model.h"
#include "server/execution/packaged_model.h"
#include "server/execution/torch_model.h"

namespace torchd {

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const std::string& path, const ModelConfig& config,
                                                 TeamedPlan plan, const std::string& package) {
  if (absl::EndsWith(path, ".pt2")) return AotiModel::Load(path, config);
  if (plan.plan == Plan::kPackage) return PackagedModel::Load(path, package, config);
  return TorchModel::Load(path, config, plan);
}

}  // namespace torchd
