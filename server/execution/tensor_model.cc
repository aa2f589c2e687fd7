#include "server/execution/tensor_model.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/status_macros.h"
#include "server/execution/catch_torch.h"
#include "server/execution/scalar_types.h"
#include "server/execution/torch_runtime.h"
#include "server/inference/pixels.h"
#include "server/inference/trial_row.h"

namespace torchd {
namespace {

// Rows of a picture's levels, of numbers, or of both: all become numbers.
at::Tensor StackPictures(absl::Span<const RowInputs* const> rows, size_t input,
                         const Pixels& pixels) {
  const auto side = static_cast<int64_t>(pixels.side());
  const auto count = static_cast<int64_t>(rows.size());
  at::Tensor stacked = at::empty(pixels.planar() ? at::IntArrayRef{count, 3, side, side}
                                                 : at::IntArrayRef{count, side, side, 3});
  auto* to = stacked.data_ptr<float>();
  for (const RowInputs* row : rows) {
    const TensorView& view = (*row)[input];
    if (view.pixels != nullptr) {
      view.pixels->Normalise(view, to);
    } else {
      std::memcpy(to, view.data, view.bytes);
    }
    to += 3 * side * side;
  }
  return stacked;
}

// One input of all rows. A single row is not copied: the request's bytes outlive the run.
at::Tensor Stack(absl::Span<const RowInputs* const> rows, size_t input) {
  for (const RowInputs* row : rows) {
    const Pixels* const pixels = (*row)[input].pixels;
    if (pixels != nullptr) return StackPictures(rows, input, *pixels);
  }
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

Tensor ToHost(at::Tensor dense) {
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

// A model may give other shapes than in its trial run; rows must still be rows.
absl::Status CheckOutputs(size_t rows, const std::vector<Tensor>& outputs) {
  for (const Tensor& output : outputs) {
    if (output.shape.empty() || output.shape[0] != static_cast<int64_t>(rows)) {
      return absl::InternalError(absl::StrCat("the model gave a tensor of shape ",
                                              ShapeText(output.shape), " for ", rows,
                                              " rows; the first size must be the batch"));
    }
  }
  return absl::OkStatus();
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

// Guesses are read from files that anybody may have written.
bool FitsARow(const Inputs& inputs) {
  constexpr size_t kRowBytesMax = size_t{1} << 30;
  return std::all_of(inputs.begin(), inputs.end(), [](const TensorSpec& input) {
    Shape shape = input.shape;
    for (int64_t& size : shape) size = size == -1 ? kTrialSide : size;
    const auto bytes = BytesOf(input.type, shape);
    return bytes && *bytes <= kRowBytesMax;
  });
}

// "'ids' int64 [-1], 'mask' int64 [-1]"
std::string InputsText(const Inputs& inputs) {
  return absl::StrJoin(inputs, ", ", [](std::string* text, const TensorSpec& input) {
    absl::StrAppend(text, "'", input.name, "' ", Name(input.type), " ", ShapeText(input.shape));
  });
}

std::vector<TensorSpec> OutputSpecs(const std::vector<Tensor>& outputs,
                                    const std::vector<std::string>& names) {
  std::vector<TensorSpec> specs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const bool named = i < names.size() && !names[i].empty();
    specs.push_back({named ? names[i] : absl::StrCat("output_", i), outputs[i].type,
                     Shape(outputs[i].shape.begin() + 1, outputs[i].shape.end())});
  }
  return specs;
}

}  // namespace

absl::Status TensorModel::Run(absl::Span<const RowInputs* const> rows,
                              std::vector<Tensor>& outputs) {
  const TeamOf team(threads_);
  auto ran = CatchTorch("running the model", [&] {
    const c10::InferenceMode inference_mode;
    std::vector<at::Tensor> inputs;
    inputs.reserve(rows[0]->size());
    for (size_t i = 0; i < rows[0]->size(); ++i) inputs.push_back(Stack(rows, i));
    outputs.clear();
    for (at::Tensor& tensor : Forward(std::move(inputs))) {
      outputs.push_back(ToHost(std::move(tensor)));
    }
    return true;
  });
  if (!ran.ok()) return Explained(ran.status(), *rows[0]);
  return CheckOutputs(rows.size(), outputs);
}

absl::Status TensorModel::RunOnes(size_t times, std::vector<Tensor>& outputs) {
  const std::vector<Tensor> trial = TrialRow(signature_.inputs);
  const RowInputs row = ViewsOf(trial);
  const std::vector<const RowInputs*> rows(times, &row);
  absl::Status ran = Run(rows, outputs);
  if (ran.ok()) return ran;
  return absl::Status(ran.code(), absl::StrCat("trial run with ", ShapesText(signature_, row),
                                               " failed: ", ran.message()));
}

absl::Status TensorModel::TryWith(const Inputs& inputs, const std::vector<std::string>& names) {
  signature_.inputs = inputs;
  std::vector<Tensor> outputs;
  TORCHD_RETURN_IF_ERROR(RunOnes(1, outputs));
  TORCHD_RETURN_IF_ERROR(CheckScores(outputs));
  signature_.outputs = OutputSpecs(outputs, names);
  return absl::OkStatus();
}

// Where the model says which sizes it takes, a request never gets here with others, so a failure
// is the model's own. Where any size goes, the first to suspect is what the request chose.
absl::Status TensorModel::Explained(const absl::Status& ran, const RowInputs& row) const {
  const bool any_size =
      std::any_of(signature_.inputs.begin(), signature_.inputs.end(), [](const TensorSpec& input) {
        return std::find(input.shape.begin(), input.shape.end(), -1) != input.shape.end();
      });
  if (!any_size || ran.code() != absl::StatusCode::kInternal) return ran;
  return absl::InvalidArgumentError(absl::StrCat(
      "the model does not take these inputs: ", ShapesText(signature_, row), ": ", ran.message()));
}

absl::StatusOr<std::vector<TensorSpec>> DeclaredInputs(const ModelConfig& config) {
  std::vector<TensorSpec> inputs;
  for (const TensorConfig& input : config.inputs) {
    const auto type = DataTypeByName(input.data_type);
    if (!type) {
      return absl::InvalidArgumentError(
          absl::StrCat("input '", input.name, "': unknown data_type '", input.data_type, "'"));
    }
    inputs.push_back({input.name, *type, input.shape});
  }
  return inputs;
}

std::vector<TensorSpec> InOrderOf(const std::vector<std::string>& names,
                                  std::vector<TensorSpec> declared) {
  const auto place = [&names](const TensorSpec& input) {
    return std::find(names.begin(), names.end(), input.name);
  };
  const bool all = std::all_of(declared.begin(), declared.end(), [&](const TensorSpec& input) {
    return place(input) != names.end();
  });
  if (all) {
    std::sort(declared.begin(), declared.end(),
              [&](const TensorSpec& a, const TensorSpec& b) { return place(a) < place(b); });
  }
  return declared;
}

std::optional<Inputs> ConfiguredInputs(const std::vector<std::string>& names,
                                       const ModelConfig& config) {
  Inputs inputs;
  if (config.text) {
    for (const std::string& name : names) inputs.push_back({name, DataType::kInt64, {-1}});
    return inputs;
  }
  if (!config.image || names.size() != 1) return std::nullopt;
  inputs.push_back(ImageInput(names[0], *config.image));
  return inputs;
}

absl::StatusOr<size_t> FirstThatRuns(const std::vector<Inputs>& guesses,
                                     absl::FunctionRef<absl::Status(const Inputs&)> attempt) {
  std::vector<std::string> tried;
  std::string reason;
  for (size_t i = 0; i < guesses.size(); ++i) {
    const absl::Status ran = FitsARow(guesses[i])
                                 ? attempt(guesses[i])
                                 : absl::InvalidArgumentError("larger than a row may be");
    const bool wrong_guess = ran.code() == absl::StatusCode::kInternal ||
                             ran.code() == absl::StatusCode::kInvalidArgument;
    if (ran.ok()) return i;
    if (!wrong_guess) return ran;
    tried.push_back(InputsText(guesses[i]));
    reason = std::string(ran.message());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the model does not say what it takes; declare it under `inputs:` in "
                   "model.yaml. Tried: ",
                   absl::StrJoin(tried, "; "), ". The last: ", reason));
}

}  // namespace torchd
