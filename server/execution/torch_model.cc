#include "server/execution/torch_model.h"

#include <torch/script.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/execution/catch_torch.h"
#include "server/inference/trial_row.h"

namespace torchd {
namespace {

c10::ScalarType ToTorch(DataType type) {
  switch (type) {
    case DataType::kUint8:
      return c10::kByte;
    case DataType::kInt32:
      return c10::kInt;
    case DataType::kInt64:
      return c10::kLong;
    case DataType::kFloat32:
      return c10::kFloat;
  }
  return c10::kFloat;
}

std::optional<DataType> FromTorch(c10::ScalarType type) {
  switch (type) {
    case c10::kByte:
      return DataType::kUint8;
    case c10::kInt:
      return DataType::kInt32;
    case c10::kLong:
      return DataType::kInt64;
    case c10::kFloat:
      return DataType::kFloat32;
    default:
      return std::nullopt;
  }
}

// One input of all rows. A single row is not copied: the request's bytes outlive the run.
at::Tensor Stack(absl::Span<const RowInputs* const> rows, size_t input) {
  const TensorView& first = (*rows[0])[input];
  std::vector<int64_t> shape = {static_cast<int64_t>(rows.size())};
  shape.insert(shape.end(), first.shape.begin(), first.shape.end());
  const auto options = at::TensorOptions().dtype(ToTorch(first.type));
  if (rows.size() == 1) return at::from_blob(const_cast<void*>(first.data), shape, options);
  at::Tensor stacked = at::empty(shape, options);
  auto* to = static_cast<char*>(stacked.data_ptr());
  for (const RowInputs* row : rows) {
    std::memcpy(to, (*row)[input].data, (*row)[input].bytes);
    to += (*row)[input].bytes;
  }
  return stacked;
}

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

Tensor ToHost(const at::Tensor& tensor) {
  at::Tensor dense = tensor.detach();
  if (dense.is_floating_point()) dense = dense.to(c10::kFloat);
  dense = dense.contiguous();
  const auto type = FromTorch(dense.scalar_type());
  TORCH_CHECK(type.has_value(), "the model gives a tensor of ", dense.scalar_type(),
              "; expected a floating point type, uint8, int32 or int64");
  Tensor host;
  host.type = *type;
  host.shape.assign(dense.sizes().begin(), dense.sizes().end());
  host.bytes.resize(dense.nbytes());
  std::memcpy(host.bytes.data(), dense.data_ptr(), host.bytes.size());
  return host;
}

// "'ids' [16], 'mask' [16]"
std::string ShapesText(const ModelSignature& signature, const RowInputs& row) {
  std::string text;
  for (size_t i = 0; i < row.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ", ", "'", signature.inputs[i].name, "' ",
                    ShapeText(row[i].shape));
  }
  return text;
}

class LoadedTorchModel final : public Model {
 public:
  LoadedTorchModel(torch::jit::Module module, ModelSignature signature)
      : module_(std::move(module)), signature_(std::move(signature)) {}

  const ModelSignature& signature() const override { return signature_; }

  absl::Status Run(absl::Span<const RowInputs* const> rows, std::vector<Tensor>& outputs) override {
    auto ran = CatchTorch("running the model", [&] {
      const c10::InferenceMode inference_mode;
      std::vector<c10::IValue> inputs;
      inputs.reserve(rows[0]->size());
      for (size_t i = 0; i < rows[0]->size(); ++i) inputs.emplace_back(Stack(rows, i));
      outputs.clear();
      for (const at::Tensor& tensor : TensorsOf(module_.forward(std::move(inputs)))) {
        outputs.push_back(ToHost(tensor));
      }
      return true;
    });
    if (!ran.ok()) return Explained(ran.status(), *rows[0]);
    return CheckOutputs(rows.size(), outputs);
  }

  // Completes the signature from what a trial run gave.
  void LearnOutputs(const std::vector<Tensor>& outputs) {
    signature_.outputs.clear();
    for (size_t i = 0; i < outputs.size(); ++i) {
      signature_.outputs.push_back({absl::StrCat("output_", i), outputs[i].type,
                                    Shape(outputs[i].shape.begin() + 1, outputs[i].shape.end())});
    }
  }

 private:
  // Where the model says which sizes it takes, a request never gets here with others, so a failure
  // is the model's own. Where any size goes, the first to suspect is what the request chose.
  absl::Status Explained(const absl::Status& ran, const RowInputs& row) const {
    const bool any_size = std::any_of(
        signature_.inputs.begin(), signature_.inputs.end(), [](const TensorSpec& input) {
          return std::find(input.shape.begin(), input.shape.end(), -1) != input.shape.end();
        });
    if (!any_size || ran.code() != absl::StatusCode::kInternal) return ran;
    return absl::InvalidArgumentError(
        absl::StrCat("the model does not take these inputs: ", ShapesText(signature_, row), ": ",
                     ran.message()));
  }

  // A model may give other shapes than in its trial run; rows must still be rows.
  static absl::Status CheckOutputs(size_t rows, const std::vector<Tensor>& outputs) {
    for (const Tensor& output : outputs) {
      if (output.shape.empty() || output.shape[0] != static_cast<int64_t>(rows)) {
        return absl::InternalError(absl::StrCat("the model gave a tensor of shape ",
                                                ShapeText(output.shape), " for ", rows,
                                                " rows; the first size must be the batch"));
      }
    }
    return absl::OkStatus();
  }

  mutable torch::jit::Module module_;  // forward() is not const, but safe to call concurrently.
  ModelSignature signature_;
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
    if (!arguments[i].default_value()) names.push_back(arguments[i].name());
  }
  return names;
}

absl::StatusOr<std::vector<TensorSpec>> InputsOf(const torch::jit::Module& module,
                                                 const ModelConfig& config) {
  std::vector<TensorSpec> inputs;
  for (const TensorConfig& input : config.inputs) {
    const auto type = DataTypeByName(input.data_type);
    if (!type) {
      return absl::InvalidArgumentError(
          absl::StrCat("input '", input.name, "': unknown data_type '", input.data_type, "'"));
    }
    inputs.push_back({input.name, *type, input.shape});
  }
  if (!inputs.empty()) return inputs;
  TORCHD_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                          CatchTorch("reading the signature", [&] { return InputNames(module); }));
  if (config.text) {
    for (const std::string& name : names) inputs.push_back({name, DataType::kInt64, {-1}});
    return inputs;
  }
  if (names.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the model takes ", names.size(), " inputs; declare them under `inputs:` in model.yaml"));
  }
  const int64_t side = config.image ? config.image->crop : 224;
  inputs.push_back({names[0], DataType::kFloat32, {3, side, side}});
  return inputs;
}

absl::Status CheckScores(const std::vector<Tensor>& outputs) {
  const Tensor& scores = outputs[0];
  if (scores.type == DataType::kFloat32 && scores.shape.size() == 2 && scores.shape[1] > 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a classifier gives floating point scores of shape [batch,classes]; this model "
                   "gives ",
                   Name(scores.type), " ", ShapeText(scores.shape)));
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
  ModelSignature signature;
  TORCHD_ASSIGN_OR_RETURN(signature.inputs, InputsOf(read, config));
  auto model = std::make_unique<LoadedTorchModel>(Freeze(path, read), std::move(signature));
  const std::vector<Tensor> trial = TrialRow(model->signature().inputs);
  RowInputs row;
  for (const Tensor& tensor : trial) row.push_back(tensor.View());
  const RowInputs* const rows = &row;
  std::vector<Tensor> outputs;
  const absl::Status ran = model->Run(absl::MakeConstSpan(&rows, 1), outputs);
  if (!ran.ok()) {
    return absl::Status(ran.code(),
                        absl::StrCat("trial run with ", ShapesText(model->signature(), row),
                                     " failed: ", ran.message()));
  }
  TORCHD_RETURN_IF_ERROR(CheckScores(outputs));
  model->LearnOutputs(outputs);
  return std::unique_ptr<Model>(std::move(model));
}

}  // namespace torchd
