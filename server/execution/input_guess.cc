#include "server/execution/input_guess.h"

#include <ATen/ATen.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/serialization/import_read.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/execution/catch_torch.h"
#include "server/execution/scalar_types.h"

namespace torchd {
namespace {

using torch::jit::Node;
using torch::jit::Value;

// Where a linear layer behind the convolutions fixes the side, one of these is it.
constexpr std::array<int64_t, 17> kSides = {224, 28,  32,  64,  96,  112, 128, 160, 192,
                                            227, 240, 256, 299, 320, 384, 448, 512};
constexpr std::array<int64_t, 6> kLengths = {-1, 128, 256, 512, 1024, 4096};
constexpr size_t kValuesMax = 1000;  // Looked at, from an input to the first parameter.

// --- From the example. ---

// Traced archives carry the inputs they were traced with.
std::optional<Inputs> Traced(const std::string& path, const std::vector<std::string>& names) {
  const auto read = CatchTorch("reading the example", [&] {
    caffe2::serialize::PyTorchStreamReader reader(path);
    std::vector<at::Tensor> tensors;
    if (!reader.hasRecord("traced_inputs.pkl")) return tensors;
    const auto methods =
        torch::jit::readArchiveAndTensors("traced_inputs", "", "traced_inputs/", std::nullopt,
                                          std::nullopt, c10::Device(c10::kCPU), reader)
            .toGenericDict();
    for (const c10::IValue& value : methods.at("forward").toListRef()) {
      tensors.push_back(value.toTensor());
    }
    return tensors;
  });
  if (!read.ok() || read->empty() || read->size() != names.size()) return std::nullopt;
  Inputs inputs;
  for (size_t i = 0; i < names.size(); ++i) {
    const at::Tensor& tensor = (*read)[i];
    const auto type = FromTorch(tensor.scalar_type());
    if (!type || tensor.dim() < 1) return std::nullopt;
    inputs.push_back({names[i], *type, Shape(tensor.sizes().begin() + 1, tensor.sizes().end())});
  }
  return inputs;
}

// --- From the parameters. ---

std::optional<at::Tensor> Parameter(const Value* value) {
  const auto constant = torch::jit::toIValue(value);
  if (!constant || !constant->isTensor()) return std::nullopt;
  return constant->toTensor();
}

int64_t IntegerAt(const Node& node, size_t input, int64_t otherwise) {
  if (input >= node.inputs().size()) return otherwise;
  const auto constant = torch::jit::toIValue(node.input(input));
  return constant && constant->isInt() ? constant->toInt() : otherwise;
}

std::vector<Shape> Pictures(int64_t channels) {
  std::vector<Shape> shapes;
  shapes.reserve(kSides.size());
  for (const int64_t side : kSides) shapes.push_back({channels, side, side});
  return shapes;
}

// An input's type, and shapes that it may have.
struct Met {
  DataType type = DataType::kFloat32;
  std::vector<Shape> shapes;
};

std::optional<Met> MetConvolution(const Node& node, const at::Tensor& weight) {
  const bool transposed = absl::EndsWith(node.kind().toUnqualString(), "transpose2d");
  const size_t groups_at = node.inputs().size() == 7 ? 6 : 8;
  if (transposed || weight.dim() < 3) return std::nullopt;
  const int64_t channels = weight.size(1) * IntegerAt(node, groups_at, 1);
  Met met;
  if (weight.dim() == 4) met.shapes = Pictures(channels);
  if (weight.dim() == 3) {
    for (const int64_t length : kLengths) met.shapes.push_back({channels, length});
  }
  if (weight.dim() == 5) met.shapes = {{channels, 16, 112, 112}};
  return met;
}

// What a node that the value enters at `place` says about it; nothing where it has no parameter.
std::optional<Met> MetAt(const Node& node, size_t place) {
  const std::string kind = node.kind().toQualString();
  const auto parameter = [&](size_t input) {
    return input < node.inputs().size() ? Parameter(node.input(input)) : std::nullopt;
  };
  if (absl::StartsWith(kind, "aten::embedding") && place == 1) {
    return Met{DataType::kInt64, {{-1}}};
  }
  const size_t weight_at = kind == "aten::addmm" ? 2 : 1;
  const auto weight = place + 1 == weight_at ? parameter(weight_at) : std::nullopt;
  if (!weight) return std::nullopt;
  if (absl::StrContains(kind, "conv")) return MetConvolution(node, *weight);
  if (kind == "aten::linear" && weight->dim() == 2)
    return Met{DataType::kFloat32, {{weight->size(1)}}};
  const bool product = kind == "aten::matmul" || kind == "aten::mm" || kind == "aten::addmm";
  if (product && weight->dim() == 2) return Met{DataType::kFloat32, {{weight->size(0)}}};
  return std::nullopt;
}

// Nodes whose result is as the value was, or at least as long.
bool PassesOn(const Node& node, size_t place) {
  static const std::set<absl::string_view> kinds = {
      "add",        "sub",        "mul",        "div",     "to",     "relu",    "relu_",
      "sigmoid",    "tanh",       "contiguous", "dropout", "detach", "clone",   "float",
      "batch_norm", "layer_norm", "add_",       "sub_",    "mul_",   "div_",    "flatten",
      "view",       "reshape",    "clamp",      "gelu",    "silu",   "type_as", "hardtanh"};
  return place == 0 && absl::StartsWith(node.kind().toQualString(), "aten::") &&
         kinds.count(node.kind().toUnqualString()) > 0;
}

// The first parameter that `input` meets on its way.
std::optional<Met> FirstMet(const Value* input) {
  std::vector<const Value*> values = {input};
  std::set<const Value*> seen = {input};
  for (size_t next = 0; next < values.size() && next < kValuesMax; ++next) {
    for (const torch::jit::Use& use : values[next]->uses()) {
      auto met = MetAt(*use.user, use.offset);
      if (met) return met;
      if (!PassesOn(*use.user, use.offset)) continue;
      const Value* const result = use.user->output();
      if (seen.insert(result).second) values.push_back(result);
    }
  }
  return std::nullopt;
}

// A single input may have any of the shapes it could have; of several each has its first.
std::vector<Inputs> FromParameters(const torch::jit::Module& frozen,
                                   const std::vector<std::string>& names) {
  std::vector<Inputs> guesses;
  const auto read = CatchTorch("reading the graph", [&] {
    const auto graph = frozen.get_method("forward").graph();
    Inputs together;
    for (size_t i = 0; i < names.size() && i + 1 < graph->inputs().size(); ++i) {
      const auto met = FirstMet(graph->inputs()[i + 1]);  // [0] is self.
      if (!met || met->shapes.empty()) return false;
      for (const Shape& shape : met->shapes) {
        if (names.size() == 1) guesses.push_back({{names[i], met->type, shape}});
      }
      together.push_back({names[i], met->type, met->shapes[0]});
    }
    if (names.size() > 1 && together.size() == names.size()) guesses.push_back(together);
    return true;
  });
  return read.ok() ? guesses : std::vector<Inputs>();
}

// As Hugging Face calls what a text becomes.
bool AreOfText(const std::vector<std::string>& names) {
  static const std::set<absl::string_view> of_text = {"input_ids", "attention_mask",
                                                      "token_type_ids", "position_ids"};
  return std::all_of(names.begin(), names.end(),
                     [](const std::string& name) { return of_text.count(name) > 0; });
}

Inputs Ids(const std::vector<std::string>& names) {
  Inputs inputs;
  for (const std::string& name : names) inputs.push_back({name, DataType::kInt64, {-1}});
  return inputs;
}

}  // namespace

std::vector<Inputs> UsualInputs(const std::vector<std::string>& names) {
  if (AreOfText(names) || names.size() != 1) return {Ids(names)};
  return {{{names[0], DataType::kFloat32, {3, 224, 224}}},
          {{names[0], DataType::kFloat32, {1, 28, 28}}},
          Ids(names)};
}

std::vector<Inputs> GuessInputs(const std::string& path, const torch::jit::Module& frozen,
                                const std::vector<std::string>& names) {
  std::vector<Inputs> guesses;
  if (names.empty()) return {{}};
  if (AreOfText(names)) guesses.push_back(Ids(names));
  if (auto traced = Traced(path, names)) guesses.push_back(*std::move(traced));
  for (Inputs& inputs : FromParameters(frozen, names)) guesses.push_back(std::move(inputs));
  return guesses.empty() ? UsualInputs(names) : guesses;
}

}  // namespace torchd
