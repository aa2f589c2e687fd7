#include "server/execution/torch_model.h"

#include <torch/script.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/execution/catch_torch.h"
#include "server/execution/input_guess.h"
#include "server/execution/plan_fallback.h"
#include "server/execution/tensor_model.h"
#include "server/execution/torch_plan.h"

namespace torchd {
namespace {

// A tensor, a tuple of tensors, or what Hugging Face calls `logits` in a dictionary.
std::vector<at::Tensor> TensorsOf(const c10::IValue& value) {
  if (value.isTensor()) return {value.toTensor()};
  std::vector<at::Tensor> tensors;
  if (value.isTuple()) {
    for (const c10::IValue& element : value.toTupleRef().elements()) {
      if (element.isTensor()) tensors.push_back(element.toTensor());
    }
  } else if (value.isGenericDict()) {
    const auto dict = value.toGenericDict();
    if (dict.contains("logits")) tensors.push_back(dict.at("logits").toTensor());
  }
  TORCH_CHECK(!tensors.empty(), "the model gives ", value.tagKind(),
              "; expected a tensor, a tuple of tensors or a dictionary with 'logits'");
  return tensors;
}

bool IsFinite(const at::Tensor& tensor) {
  return !tensor.is_floating_point() || at::isfinite(tensor).all().item<bool>();
}

bool IsFinite(const Tensor& scores) {
  return IsFinite(at::from_blob(const_cast<char*>(scores.bytes.data()), scores.shape));
}

// Runs by its plan; should that fail where the model as it was saved does not, then by that.
class LoadedTorchModel final : public TensorModel {
 public:
  LoadedTorchModel(const torch::jit::Module& read, std::unique_ptr<TorchPlan> plan, Plan kind)
      : read_(read),
        plan_(std::move(plan)),
        kind_(kind),
        check_scores_(HasFewerBits(kind)),
        fallback_(kind) {}

  Plan plan() const override { return fallback_.plan(); }
  int64_t fallbacks() const override { return fallback_.count(); }
  std::string fallback_reason() const override { return fallback_.reason(); }
  void TellOfFailedPlan(PlanFailed tell) override { fallback_.Tell(std::move(tell)); }
  void Settle() override { plan_->Settle(); }

  // The second run compiles what the first has profiled: better where it loads than where requests
  // wait.
  absl::Status Compile() {
    std::vector<Tensor> outputs;
    TORCHD_RETURN_IF_ERROR(RunOnes(1, outputs));
    // A model whose way this is, such as one with masked classes, would be run twice each time.
    if (!IsFinite(outputs.at(0))) check_scores_ = false;
    return absl::OkStatus();
  }

 private:
  std::vector<at::Tensor> Forward(std::vector<at::Tensor> inputs) override {
    if (kind_ == Plan::kSaved) return TensorsOf(plan_->Run(std::move(inputs)));
    if (fallback_.failed()) return TensorsOf(Reference().Run(std::move(inputs)));
    auto planned = CatchTorch("plan", [&] { return TensorsOf(plan_->Run(inputs)); });
    if (planned.ok()) return ScoresOrReference(*std::move(planned), std::move(inputs));
    // What lacks memory or a device fails likewise. Else the inputs are at fault, and it throws, or
    // the plan is.
    std::vector<at::Tensor> outputs = TensorsOf(Reference().Run(std::move(inputs)));
    if (planned.status().code() == absl::StatusCode::kInternal) {
      fallback_.Note(planned.status().message());
    }
    return outputs;
  }

  // With fewer bits a model may leave the range of its numbers where it did not as it was saved.
  std::vector<at::Tensor> ScoresOrReference(std::vector<at::Tensor> planned,
                                            std::vector<at::Tensor> inputs) {
    if (!check_scores_ || IsFinite(planned[0])) return planned;
    const bool asked_for = !std::all_of(inputs.begin(), inputs.end(),
                                        [](const at::Tensor& input) { return IsFinite(input); });
    if (asked_for) return planned;
    std::vector<at::Tensor> outputs = TensorsOf(Reference().Run(std::move(inputs)));
    if (!IsFinite(outputs[0])) return planned;
    fallback_.Note("its scores are not numbers where the saved model's are");
    return outputs;
  }

  TorchPlan& Reference() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    if (reference_ == nullptr) reference_ = MakeTorchPlan(read_, Plan::kSaved);
    return *reference_;
  }

  const torch::jit::Module read_;  // Shares the weights that the plan did not transform.
  const std::unique_ptr<TorchPlan> plan_;
  const Plan kind_;
  bool check_scores_;  // Of the plan's runs. Constant once it is loaded.
  PlanFallback fallback_;
  absl::Mutex mutex_;
  std::unique_ptr<TorchPlan> reference_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<torch::jit::Module> ReadModule(const std::string& path) {
  std::error_code ignored;  // This overload does not throw.
  if (!std::filesystem::exists(path, ignored)) {
    return absl::NotFoundError(absl::StrCat("no model file ", path));
  }
  return CatchTorch(absl::StrCat("loading ", path), [&] {
    torch::jit::Module loaded = torch::jit::load(path, c10::Device(c10::kCPU));
    loaded.eval();
    return loaded;
  });
}

// A module that cannot be frozen runs as it was saved.
absl::StatusOr<std::unique_ptr<LoadedTorchModel>> MakeModel(const std::string& path,
                                                            const torch::jit::Module& read,
                                                            Plan plan) {
  auto made = CatchTorch(absl::StrCat("making the plan '", Name(plan), "'"),
                         [&] { return MakeTorchPlan(read, plan); });
  if (!made.ok() && plan == kDefaultPlan) {
    Log(Severity::kWarning, "model runs as saved, it cannot be frozen",
        {{"path", path}, {"reason", std::string(made.status().message())}});
    return MakeModel(path, read, Plan::kSaved);
  }
  TORCHD_RETURN_IF_ERROR(made.status());
  return std::make_unique<LoadedTorchModel>(read, *std::move(made), plan);
}

std::vector<std::string> InputNames(const torch::jit::Module& module) {
  std::vector<std::string> names;
  const auto& arguments = module.get_method("forward").function().getSchema().arguments();
  for (size_t i = 1; i < arguments.size(); ++i) {  // [0] is self.
    if (arguments[i].default_value()) continue;
    TORCH_CHECK(c10::TensorType::get()->isSubtypeOf(*arguments[i].type()), "the model's input '",
                arguments[i].name(), "' is of type ", arguments[i].type()->repr_str(),
                "; expected Tensor");
    names.push_back(arguments[i].name());
  }
  return names;
}

// What the configuration says, if it does.
std::optional<Inputs> SaidInputs(const std::vector<std::string>& names, const Inputs& declared,
                                 const ModelConfig& config) {
  if (declared.empty()) return ConfiguredInputs(names, config);
  return InOrderOf(names, declared);
}

}  // namespace

std::string Cause(const std::string& what) {
  std::vector<std::string> lines = absl::StrSplit(what, '\n', absl::SkipWhitespace());
  if (lines.empty()) return "unknown error";
  // A TorchScript program's error comes last, after its traceback, as "RuntimeError: text" or
  // "builtins.ValueError: text".
  const bool traceback = absl::StrContains(lines.front(), "TorchScript interpreter");
  std::string line = traceback ? lines.back() : lines.front();
  const size_t colon = line.find("Error: ");
  if (traceback && colon != std::string::npos) line.erase(0, colon + 7);
  return line;
}

absl::StatusOr<std::unique_ptr<Model>> TorchModel::Load(const std::string& path,
                                                        const ModelConfig& config,
                                                        TeamedPlan plan) {
  TORCHD_ASSIGN_OR_RETURN(const torch::jit::Module read, ReadModule(path));
  TORCHD_ASSIGN_OR_RETURN(const Inputs inputs, DeclaredInputs(config));
  TORCHD_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          CatchTorch("reading the signature", [&] { return InputNames(read); }));
  auto takes = SaidInputs(names, inputs, config);
  if (!takes) {
    TORCHD_ASSIGN_OR_RETURN(const auto guessing, MakeModel(path, read, kDefaultPlan));
    const auto frozen = CatchTorch("freezing", [&] { return torch::jit::freeze(read); });
    const std::vector<Inputs> guesses = GuessInputs(path, frozen.ok() ? *frozen : read, names);
    TORCHD_ASSIGN_OR_RETURN(const size_t fits, FirstThatRuns(guesses, [&](const Inputs& guess) {
                              return guessing->TryWith(guess, config.output_names);
                            }));
    takes = guesses[fits];
  }
  // Anew after guesses: LibTorch has planned for those that did not fit.
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<LoadedTorchModel> model,
                          MakeModel(path, read, plan.plan));
  model->KeepTo(plan.threads > 0 ? plan.threads : config.plan_threads);
  TORCHD_RETURN_IF_ERROR(model->TryWith(*takes, config.output_names));
  TORCHD_RETURN_IF_ERROR(model->Compile());
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace torchd
