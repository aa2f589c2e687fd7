#include "server/classify/check.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

// A client's name in our message: bounded, and only characters that cannot confuse a log.
std::string Shown(absl::string_view name) {
  std::string shown;
  for (const char c : name.substr(0, 64)) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '.' || c == '-';
    shown += plain ? c : '?';
  }
  return shown;
}

std::string InputNames(const ModelSignature& signature) {
  return absl::StrJoin(signature.inputs, ", ", [](std::string* out, const TensorSpec& input) {
    absl::StrAppend(out, "'", input.name, "'");
  });
}

bool Fits(const Shape& shape, const Shape& spec) {
  return std::equal(shape.begin(), shape.end(), spec.begin(), spec.end(),
                    [](int64_t given, int64_t want) { return want == -1 || given == want; });
}

// Takes a leading 1 off when the shape has the batch dimension.
bool Match(const Shape& spec, Shape& shape) {
  if (shape.size() == spec.size() + 1 && shape[0] == 1) shape.erase(shape.begin());
  return Fits(shape, spec);
}

absl::StatusOr<size_t> IndexOf(absl::string_view name, const Servable& servable) {
  const ModelSignature& signature = servable.model->signature();
  if (name.empty()) {
    if (signature.inputs.size() == 1) return 0;
    return absl::InvalidArgumentError(absl::StrCat("a tensor has no name, but model '",
                                                   servable.name, "' has ", signature.inputs.size(),
                                                   " inputs: ", InputNames(signature)));
  }
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    if (name == signature.inputs[i].name) return i;
  }
  return absl::InvalidArgumentError(absl::StrCat("model '", servable.name, "' has no input '",
                                                 Shown(name), "'; expected ",
                                                 InputNames(signature)));
}

absl::Status CheckTensor(const TensorSpec& spec, const Pixels* pixels, TensorView& view) {
  if (view.type == DataType::kUint8 && pixels != nullptr) {
    const auto side = static_cast<int64_t>(pixels->side());
    return absl::InvalidArgumentError(absl::StrCat(
        "input '", spec.name, "': expected ", Name(spec.type), " ", ShapeText(spec.shape),
        ", or the levels of a picture as uint8 ", ShapeText({side, side, 3}), " or ",
        ShapeText({3, side, side}), " (or with a leading 1), got uint8 ", ShapeText(view.shape)));
  }
  if (view.type != spec.type) {
    return absl::InvalidArgumentError(absl::StrCat("input '", spec.name, "': expected ",
                                                   Name(spec.type), ", got ", Name(view.type)));
  }
  if (view.shape.size() > kDimensionsMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "input '", spec.name, "': got ", view.shape.size(), " sizes, at most ", kDimensionsMax));
  }
  const Shape given = view.shape;
  if (!Match(spec.shape, view.shape)) {
    return absl::InvalidArgumentError(
        absl::StrCat("input '", spec.name, "': expected shape ", ShapeText(spec.shape),
                     " (or with a leading 1), got ", ShapeText(given)));
  }
  if (std::any_of(given.begin(), given.end(), [](int64_t size) { return size < 1; })) {
    return absl::InvalidArgumentError(absl::StrCat(
        "input '", spec.name, "': got shape ", ShapeText(given), ", expected sizes of at least 1"));
  }
  const auto bytes = BytesOf(view.type, view.shape);
  if (!bytes || *bytes != view.bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "input '", spec.name, "': shape ", ShapeText(given), " of ", Name(view.type), " needs ",
        bytes ? absl::StrCat(*bytes) : "too many", " bytes, got ", view.bytes));
  }
  return absl::OkStatus();
}

// A model that is given photos as numbers takes their levels, too.
bool TakeLevels(const Servable& servable, TensorView& view) {
  const Pixels* const pixels = servable.preprocessor.pixels();
  if (pixels == nullptr || view.type != DataType::kUint8) return false;
  TensorView levels = view;
  if (levels.shape.size() == 4 && levels.shape[0] == 1) levels.shape.erase(levels.shape.begin());
  if (!pixels->AreLevels(levels)) return false;
  view = std::move(levels);
  view.pixels = pixels;
  return true;
}

// Tokens that come ready-made are as many as those of a text may be: the work grows with their
// square.
absl::Status CheckTokens(const ModelConfig& config, const TensorSpec& spec,
                         const TensorView& view) {
  if (!config.text) return absl::OkStatus();
  for (size_t i = 0; i < spec.shape.size(); ++i) {
    if (spec.shape[i] != -1 || view.shape[i] <= config.text->tokens_max) continue;
    return absl::InvalidArgumentError(absl::StrCat("input '", spec.name, "': got ", view.shape[i],
                                                   " tokens, at most ", config.text->tokens_max,
                                                   " (text.tokens_max of the model)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckItemCount(size_t items) {
  if (items >= 1 && items <= kItemsMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("items: got ", items, ", expected 1 to ", kItemsMax));
}

absl::StatusOr<int> ChooseTopK(std::optional<int> asked, const ModelSignature& signature,
                               bool all) {
  const int classes = static_cast<int>(signature.outputs.at(0).shape.at(0));
  if (!asked) return std::min(all ? kTopKMax : kTopKDefault, classes);
  const int most = std::min(kTopKMax, classes);
  if (*asked >= 1 && *asked <= most) return *asked;
  return absl::InvalidArgumentError(absl::StrCat("top_k: got ", *asked, ", expected 1 to ", most));
}

absl::StatusOr<TopKOptions> ChooseClasses(const ClassifyCall& call, const Servable& servable) {
  if (call.softmax && call.activation) {
    return absl::InvalidArgumentError("softmax and activation are both set, expected one of them");
  }
  TopKOptions options;
  options.activation = servable.config.activation;
  if (call.softmax) options.activation = *call.softmax ? Activation::kSoftmax : Activation::kNone;
  if (call.activation) options.activation = *call.activation;
  options.threshold = call.threshold ? call.threshold : servable.config.threshold;
  if (options.threshold && !std::isfinite(*options.threshold)) {
    return absl::InvalidArgumentError(
        absl::StrCat("threshold: got ", *options.threshold, ", expected a finite number"));
  }
  TORCHD_ASSIGN_OR_RETURN(options.k, ChooseTopK(call.top_k, servable.model->signature(),
                                                options.threshold.has_value()));
  return options;
}

absl::StatusOr<RowInputs> MatchInputs(const TensorItem& tensors, const Servable& servable) {
  const auto& specs = servable.model->signature().inputs;
  RowInputs row(specs.size());
  std::vector<bool> given(specs.size(), false);
  for (const NamedTensor& tensor : tensors) {
    TORCHD_ASSIGN_OR_RETURN(const size_t index, IndexOf(tensor.name, servable));
    if (given[index]) {
      return absl::InvalidArgumentError(
          absl::StrCat("input '", specs[index].name, "' is given twice"));
    }
    given[index] = true;
    row[index] = tensor.view;
    if (TakeLevels(servable, row[index])) continue;
    TORCHD_RETURN_IF_ERROR(CheckTensor(specs[index], servable.preprocessor.pixels(), row[index]));
    TORCHD_RETURN_IF_ERROR(CheckTokens(servable.config, specs[index], row[index]));
  }
  for (size_t i = 0; i < specs.size(); ++i) {
    if (!given[i]) {
      return absl::InvalidArgumentError(absl::StrCat("model '", servable.name, "' needs input '",
                                                     specs[i].name, "', which is missing"));
    }
  }
  return row;
}

int64_t PreparedBytes(const std::vector<ClassifyItem>& items, const Servable& servable) {
  const ModelConfig& config = servable.config;
  int64_t image = 0;
  int64_t text = 0;
  if (config.image) {
    const TensorSpec made = ImageInput("", *config.image);
    image = static_cast<int64_t>(BytesOf(made.type, made.shape).value_or(0));
  }
  for (const TensorSpec& input : servable.model->signature().inputs) {
    if (config.text) text += config.text->tokens_max * static_cast<int64_t>(SizeOf(input.type));
  }
  int64_t bytes = 0;
  for (const ClassifyItem& item : items) {
    if (std::holds_alternative<ImageItem>(item)) bytes += image;
    if (std::holds_alternative<TextItem>(item)) bytes += text;
  }
  return bytes;
}

}  // namespace torchd
