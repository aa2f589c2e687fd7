#include "server/execution/packaged_model.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/execution/aoti_model.h"
#include "server/execution/plan_fallback.h"
#include "server/execution/torch_model.h"

namespace torchd {
namespace {

class LoadedPackagedModel final : public Model {
 public:
  LoadedPackagedModel(std::unique_ptr<Model> package, std::unique_ptr<Model> saved)
      : package_(std::move(package)), saved_(std::move(saved)) {}

  const ModelSignature& signature() const override { return saved_->signature(); }
  Plan plan() const override { return fallback_.plan(); }
  int64_t fallbacks() const override { return fallback_.count(); }
  std::string fallback_reason() const override { return fallback_.reason(); }
  void TellOfFailedPlan(PlanFailed tell) override { fallback_.Tell(std::move(tell)); }
  bool batches() const override { return package_->batches(); }

  absl::Status Run(absl::Span<const RowInputs* const> rows, std::vector<Tensor>& outputs) override {
    if (fallback_.failed()) return saved_->Run(rows, outputs);
    absl::Status packaged = package_->Run(rows, outputs);
    if (packaged.ok()) return packaged;
    absl::Status saved = saved_->Run(rows, outputs);
    // What lacks memory or a device is not the package's fault.
    const bool at_fault = packaged.code() == absl::StatusCode::kInternal ||
                          packaged.code() == absl::StatusCode::kInvalidArgument;
    if (saved.ok() && at_fault) fallback_.Note(packaged.message());
    return saved;
  }

 private:
  const std::unique_ptr<Model> package_;
  const std::unique_ptr<Model> saved_;
  PlanFallback fallback_{Plan::kPackage};
};

// A package knows no names, and guesses worse what it takes.
ModelConfig WithInputsOf(const ModelSignature& signature, ModelConfig config) {
  config.inputs.clear();
  for (const TensorSpec& input : signature.inputs) {
    config.inputs.push_back({input.name, Name(input.type), input.shape});
  }
  return config;
}

bool GiveTheSame(const ModelSignature& one, const ModelSignature& other) {
  return std::equal(one.outputs.begin(), one.outputs.end(), other.outputs.begin(),
                    other.outputs.end(), [](const TensorSpec& a, const TensorSpec& b) {
                      return a.type == b.type && a.shape == b.shape;
                    });
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> PackagedModel::Load(const std::string& script,
                                                           const std::string& package,
                                                           const ModelConfig& config) {
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<Model> saved,
                          TorchModel::Load(script, config, Plan::kSaved));
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<Model> packaged,
                          AotiModel::Load(package, WithInputsOf(saved->signature(), config)));
  if (!GiveTheSame(packaged->signature(), saved->signature())) {
    return absl::InvalidArgumentError(
        absl::StrCat(package, " and ", script, " are not the same model: their outputs differ"));
  }
  return std::make_unique<LoadedPackagedModel>(std::move(packaged), std::move(saved));
}

}  // namespace torchd
