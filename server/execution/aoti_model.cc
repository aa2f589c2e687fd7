#include "server/execution/aoti_model.h"

#include <ATen/ATen.h>
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_runner/model_container_runner_cpu.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/base/thread_pool.h"
#include "server/execution/catch_torch.h"
#include "server/execution/input_guess.h"
#include "server/execution/package.h"
#include "server/execution/package_inputs.h"
#include "server/execution/standard_error_tap.h"
#include "server/execution/tensor_model.h"
#include "server/execution/torch_runtime.h"

namespace torchd {
namespace {

using Runner = torch::inductor::AOTIModelContainerRunnerCpu;

constexpr char kHowToExport[] =
    "export it with one row as example, or with torch.export.Dim for the batch "
    "(torchd_export: --dynamic-batch)";

// As CatchTorch, but with the reason that the package printed, where it did.
template <typename Body>
auto CatchPackage(const std::string& doing, Body&& body) {
  const HeardErrors heard;
  auto result = CatchTorch(doing, std::forward<Body>(body));
  const std::string reason = heard.Reason();
  if (result.ok() || reason.empty()) return result;
  return decltype(result)(
      absl::Status(result.status().code(), absl::StrCat(doing, ": ", Cause(reason))));
}

class LoadedAotiModel final : public TensorModel {
 public:
  explicit LoadedAotiModel(std::unique_ptr<Runner> runner) : runner_(std::move(runner)) {}

  // A lone row runs twice: what torch.export.Dim makes of a batch starts from two rows.
  void DoubleLoneRows() { lone_rows_twice_ = true; }

  Plan plan() const override { return Plan::kPackage; }
  bool batches() const override { return !one_row_; }

  // Whether the package takes more than one row. Call after TryWith(), which ran one.
  void LearnBatch() {
    std::vector<Tensor> outputs;
    one_row_ = !RunOnes(2, outputs).ok();
  }

 private:
  std::vector<at::Tensor> Forward(std::vector<at::Tensor> inputs) override {
    const int64_t rows = inputs[0].size(0);
    if (rows == 1 && lone_rows_twice_) return RunTwice(inputs);
    if (rows == 1 || !one_row_) return RunPackage(std::move(inputs));
    std::vector<std::vector<at::Tensor>> by_output;
    for (int64_t row = 0; row < rows; ++row) {
      std::vector<at::Tensor> one;
      one.reserve(inputs.size());
      for (const at::Tensor& input : inputs) one.push_back(input.narrow(0, row, 1));
      const std::vector<at::Tensor> outputs = RunPackage(std::move(one));
      by_output.resize(outputs.size());
      for (size_t i = 0; i < outputs.size(); ++i) by_output[i].push_back(outputs[i]);
    }
    std::vector<at::Tensor> joined;
    joined.reserve(by_output.size());
    for (const std::vector<at::Tensor>& output : by_output) joined.push_back(at::cat(output));
    return joined;
  }

  std::vector<at::Tensor> RunTwice(const std::vector<at::Tensor>& row) {
    std::vector<at::Tensor> two;
    two.reserve(row.size());
    for (const at::Tensor& input : row) two.push_back(at::cat({input, input}));
    std::vector<at::Tensor> outputs = RunPackage(std::move(two));
    for (at::Tensor& output : outputs) output = output.narrow(0, 0, 1);
    return outputs;
  }

  std::vector<at::Tensor> RunPackage(std::vector<at::Tensor> inputs) {
    const TeamEndsWithRun no_team_stays;  // Its code may say how many threads it wants.
    auto outputs =
        CatchPackage("the package", [&] { return runner_->boxed_run(std::move(inputs)); });
    TORCH_CHECK(outputs.ok(), std::string(outputs.status().message()));
    TORCH_CHECK(!outputs->empty(), "the model gives nothing; expected a tensor");
    return *std::move(outputs);
  }

  const std::unique_ptr<Runner> runner_;  // Gives each concurrent run a runner of its own.
  bool one_row_ = false;
  bool lone_rows_twice_ = false;
};

// Compiled code names libtorch.so. One that is there already, as in a build for CUDA, will do.
absl::Status ProvideLibtorch() {
  constexpr char kName[] = "libtorch.so";
  if (dlopen(kName, RTLD_NOW | RTLD_NOLOAD) != nullptr) return absl::OkStatus();
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error).parent_path();
  // Installed beside bin/, built below the folder of the programs.
  for (const auto& folder : {program.parent_path() / "lib", program / "lib"}) {
    const std::string path = (folder / kName).string();
    if (!std::filesystem::exists(path, error)) continue;
    if (dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) != nullptr) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("loading ", path, ": ", dlerror()));
  }
  return absl::FailedPreconditionError(absl::StrCat("packages need torchd's own ", kName,
                                                    ", and it is not in ",
                                                    (program.parent_path() / "lib").string()));
}

absl::StatusOr<std::unique_ptr<Runner>> Open(const std::string& path, const Package& package) {
  const auto runners = static_cast<size_t>(Cores());
  return CatchPackage(absl::StrCat("loading ", path, " into LibTorch ", TORCH_VERSION), [&] {
    auto runner = std::make_unique<Runner>(package.library, runners);
    if (!package.weights.empty()) runner->update_constant_buffer_from_blob(package.weights);
    return runner;
  });
}

// The leaves of the call's tree, which is JSON; 0: the package does not say.
size_t CountInputs(Runner& runner) {
  const std::vector<std::string> spec = runner.get_call_spec();
  if (spec.empty()) return 0;
  constexpr char kLeaf[] = "\"type\": null";
  size_t count = 0;
  for (size_t at = spec[0].find(kLeaf); at != std::string::npos; at = spec[0].find(kLeaf, at + 1)) {
    ++count;
  }
  return count;
}

// A package knows no names. Those of a text model follow Hugging Face's order.
std::vector<std::string> Names(size_t count, const ModelConfig& config) {
  const std::vector<std::string> text = {"input_ids", "attention_mask", "token_type_ids"};
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) {
    names.push_back(config.text && i < text.size() ? text[i]
                    : count == 1                   ? "input"
                                                   : absl::StrCat("input_", i));
  }
  return names;
}

// What the configuration says, else what the package's own checks ask for, else the usual.
absl::StatusOr<std::vector<Inputs>> InputsOf(Runner& runner, const Package& package,
                                             const ModelConfig& config) {
  TORCHD_ASSIGN_OR_RETURN(const size_t count, CatchPackage("reading the call spec",
                                                           [&] { return CountInputs(runner); }));
  TORCHD_ASSIGN_OR_RETURN(const Inputs declared, DeclaredInputs(config));
  if (declared.empty()) {
    const std::vector<std::string> names = Names(std::max<size_t>(count, 1), config);
    if (auto configured = ConfiguredInputs(names, config)) return std::vector<Inputs>{*configured};
    if (auto checked = CheckedInputs(package.source, names)) return std::vector<Inputs>{*checked};
    return UsualInputs(names);
  }
  if (count == 0 || count == declared.size()) return std::vector<Inputs>{declared};
  return absl::InvalidArgumentError(absl::StrCat("the package takes ", count, " inputs, `inputs:` ",
                                                 "declares ", declared.size()));
}

// A package for batches of two rows or more is noted on the way.
absl::Status TryWith(LoadedAotiModel& model, const Inputs& inputs, const ModelConfig& config) {
  absl::Status tried = model.TryWith(inputs, config.output_names);
  if (absl::StrContains(tried.message(), "too small at 0, expected it to be >= 2,")) {
    model.DoubleLoneRows();
    tried = model.TryWith(inputs, config.output_names);
  }
  if (absl::StrContains(tried.message(), "dim value") &&
      absl::StrContains(tried.message(), " at 0,")) {
    return absl::InvalidArgumentError(absl::StrCat(
        tried.message(), "; the package does not take a batch of one row: ", kHowToExport));
  }
  return tried;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> AotiModel::Load(const std::string& path,
                                                       const ModelConfig& config) {
  std::error_code ignored;  // This overload does not throw.
  if (!std::filesystem::exists(path, ignored)) {
    return absl::NotFoundError(absl::StrCat("no model file ", path));
  }
  TORCHD_RETURN_IF_ERROR(ProvideLibtorch());
  TORCHD_ASSIGN_OR_RETURN(const Package package, Unpack(path));
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<Runner> runner, Open(path, package));
  TORCHD_ASSIGN_OR_RETURN(const std::vector<Inputs> inputs, InputsOf(*runner, package, config));
  auto model = std::make_unique<LoadedAotiModel>(std::move(runner));
  if (!config.inputs.empty() || config.image || config.text) {
    TORCHD_RETURN_IF_ERROR(TryWith(*model, inputs[0], config));
  } else {
    TORCHD_RETURN_IF_ERROR(FirstThatRuns(inputs, [&](const Inputs& guess) {
                             return TryWith(*model, guess, config);
                           }).status());
  }
  model->LearnBatch();
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace torchd
