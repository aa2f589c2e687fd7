#include "server/execution/torch_model.h"

#include <torch/script.h>

#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/execution/catch_torch.h"
#include "server/execution/input_guess.h"
#include "server/execution/tensor_model.h"

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

std::vector<c10::IValue> DefaultsOf(const torch::jit::Function& function) {
  std::vector<c10::IValue> defaults;
  for (const c10::Argument& argument : function.getSchema().arguments()) {
    if (argument.default_value()) defaults.push_back(*argument.default_value());
  }
  return defaults;
}

// Enters the interpreter itself: Module::forward() looks the method up, copies the arguments and
// checks them against the schema each time. InputNames() has checked that tensors fit.
class LoadedTorchModel final : public TensorModel {
 public:
  explicit LoadedTorchModel(torch::jit::Module module)
      : module_(std::move(module)),
        self_(module_._ivalue()),
        forward_(module_.get_method("forward").function()),
        defaults_(DefaultsOf(forward_)) {}

  // The second run compiles what the first has profiled: better where it loads than where requests
  // wait.
  absl::Status Compile() {
    std::vector<Tensor> outputs;
    return RunOnes(1, outputs);
  }

 private:
  std::vector<at::Tensor> Forward(std::vector<at::Tensor> inputs) override {
    const size_t arguments = 1 + inputs.size() + defaults_.size();
    TORCH_CHECK(arguments == forward_.num_inputs(), "the model takes ",
                forward_.num_inputs() - 1 - defaults_.size(), " inputs, not ", inputs.size());
    torch::jit::Stack stack;
    stack.reserve(arguments);
    stack.emplace_back(self_);
    for (at::Tensor& input : inputs) stack.emplace_back(std::move(input));
    stack.insert(stack.end(), defaults_.begin(), defaults_.end());
    forward_.run(stack);
    return TensorsOf(stack.front());
  }

  const torch::jit::Module module_;
  const c10::IValue self_;
  torch::jit::Function& forward_;            // Of module_; safe to run concurrently.
  const std::vector<c10::IValue> defaults_;  // Of the arguments after the inputs.
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

// Frozen: parameters become constants, so that more of the graph folds. A module that cannot be
// frozen runs as it was saved.
torch::jit::Module Freeze(const std::string& path, const torch::jit::Module& module) {
  auto frozen = CatchTorch("freezing", [&] { return torch::jit::freeze(module); });
  if (frozen.ok()) return *std::move(frozen);
  Log(Severity::kWarning, "model runs as saved, it cannot be frozen",
      {{"path", path}, {"reason", std::string(frozen.status().message())}});
  return module;
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
                                                        const ModelConfig& config) {
  TORCHD_ASSIGN_OR_RETURN(const torch::jit::Module read, ReadModule(path));
  TORCHD_ASSIGN_OR_RETURN(const Inputs inputs, DeclaredInputs(config));
  TORCHD_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          CatchTorch("reading the signature", [&] { return InputNames(read); }));
  const torch::jit::Module frozen = Freeze(path, read);
  auto model = std::make_unique<LoadedTorchModel>(frozen);
  if (const auto said = SaidInputs(names, inputs, config)) {
    TORCHD_RETURN_IF_ERROR(model->TryWith(*said, config.output_names));
    TORCHD_RETURN_IF_ERROR(model->Compile());
    return std::unique_ptr<Model>(std::move(model));
  }
  const std::vector<Inputs> guesses = GuessInputs(path, frozen, names);
  TORCHD_ASSIGN_OR_RETURN(const size_t fits, FirstThatRuns(guesses, [&](const Inputs& guess) {
                            return model->TryWith(guess, config.output_names);
                          }));
  if (fits > 0) {  // LibTorch has planned for the guesses that did not fit.
    model = std::make_unique<LoadedTorchModel>(Freeze(path, read));
    TORCHD_RETURN_IF_ERROR(model->TryWith(guesses[fits], config.output_names));
  }
  TORCHD_RETURN_IF_ERROR(model->Compile());
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace torchd
