#include "server/inference/open_sizes.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/status_macros.h"
#include "server/inference/trial_row.h"

namespace torchd {
namespace {

constexpr int64_t kUsualTokens = 128;

int64_t UsualLength(const ModelConfig& config) {
  return config.text ? std::min<int64_t>(kUsualTokens, config.text->tokens_max) : kTrialLength;
}

}  // namespace

bool HasOpenSize(const TensorSpec& input) {
  return std::any_of(input.shape.begin(), input.shape.end(), [](int64_t size) { return size < 0; });
}

bool IsPicture(const TensorSpec& input) {
  return input.type == DataType::kFloat32 && input.shape.size() == 3;
}

std::string InputsText(const std::vector<TensorSpec>& inputs) {
  return absl::StrJoin(inputs, ", ", [](std::string* text, const TensorSpec& input) {
    absl::StrAppend(text, input.name, " ", Name(input.type), ShapeText(input.shape));
  });
}

absl::Status CheckOpenSize(const ModelConfig& config, const TensorSpec& input, int64_t size) {
  const int64_t most = config.text ? config.text->tokens_max : kElementsMax;
  if (size >= 1 && size <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("input '", input.name, "': got a size of ", size, ", expected 1 to ", most,
                   config.text ? " (text.tokens_max of the model)" : ""));
}

absl::Status FillOpenSizes(absl::string_view model, const ModelConfig& config,
                           std::optional<int64_t> length, std::vector<TensorSpec>& inputs,
                           std::optional<int64_t> usual_length) {
  if (length && std::none_of(inputs.begin(), inputs.end(), HasOpenSize)) {
    return absl::InvalidArgumentError(absl::StrCat("length: got ", *length, ", but ", model,
                                                   " leaves no size open: ", InputsText(inputs)));
  }
  for (TensorSpec& input : inputs) {
    if (!HasOpenSize(input)) continue;
    if (length) TORCHD_RETURN_IF_ERROR(CheckOpenSize(config, input, *length));
    const int64_t usual =
        IsPicture(input) ? kTrialSide : usual_length.value_or(UsualLength(config));
    std::replace_if(
        input.shape.begin(), input.shape.end(), [](int64_t size) { return size < 0; },
        length.value_or(usual));
  }
  return absl::OkStatus();
}

absl::Status CheckRunBytes(int64_t rows, const std::vector<TensorSpec>& inputs) {
  int64_t total = 0;
  for (const TensorSpec& input : inputs) {
    Shape shape = input.shape;
    shape.insert(shape.begin(), rows);
    const auto bytes = BytesOf(input.type, shape);
    const bool fits = bytes && *bytes <= static_cast<size_t>(kRunBytesMax);
    total = fits ? total + static_cast<int64_t>(*bytes) : kRunBytesMax + 1;
    if (total > kRunBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the inputs of a run, ", rows, " times ", InputsText(inputs), ", take more than ",
          kRunBytesMax, " bytes (256 MiB), the most that a benchmark may"));
    }
  }
  return absl::OkStatus();
}

}  // namespace torchd
