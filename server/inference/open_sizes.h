// The sizes that a model's inputs leave open, for a run whose rows nobody sent: a benchmark's.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/config/model_config.h"
#include "server/inference/tensor.h"

namespace torchd {

// Of the inputs of one run.
inline constexpr int64_t kRunBytesMax = int64_t{256} << 20;

bool HasOpenSize(const TensorSpec& input);

// Whose open sizes are sides, not lengths.
bool IsPicture(const TensorSpec& input);

// "ids int64[-1], mask int64[-1]"
std::string InputsText(const std::vector<TensorSpec>& inputs);

// INVALID_ARGUMENT for a size that no row of the model may have.
absl::Status CheckOpenSize(const ModelConfig& config, const TensorSpec& input, int64_t size);

// `length` stands for every open size. Without one a picture's are kTrialSide, and the others
// `usual_length`, else 128 tokens (or as many as the model takes) or kTrialLength. INVALID_ARGUMENT
// where `length` does not fit or nothing is open; `model` is what the message calls it.
absl::Status FillOpenSizes(absl::string_view model, const ModelConfig& config,
                           std::optional<int64_t> length, std::vector<TensorSpec>& inputs,
                           std::optional<int64_t> usual_length = std::nullopt);

// INVALID_ARGUMENT for more than kRunBytesMax. Requires: no size is open.
absl::Status CheckRunBytes(int64_t rows, const std::vector<TensorSpec>& inputs);

}  // namespace torchd
