// What is wrong with a call or an item, before anything is spent on it.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/classify/classify.h"
#include "server/inference/model.h"
#include "server/inference/top_k.h"
#include "server/registry/servable.h"

namespace torchd {

// INVALID_ARGUMENT unless 1 <= items <= kItemsMax.
absl::Status CheckItemCount(size_t items);

// How many classes to answer. INVALID_ARGUMENT when `asked` is out of range for the model.
// `all`: where it was not asked for, as many as there may be.
absl::StatusOr<int> ChooseTopK(std::optional<int> asked, const ModelSignature& signature,
                               bool all = false);

// What the answer is made of: what the call asks for, else what the model's configuration says.
absl::StatusOr<TopKOptions> ChooseClasses(const ClassifyCall& call, const Servable& servable);

// The tensors of an item in the order of the model's inputs, without the batch dimension.
// INVALID_ARGUMENT names the input, what was expected and what came.
absl::StatusOr<RowInputs> MatchInputs(const TensorItem& tensors, const Servable& servable);

// The most bytes that the items take once they are prepared, beside those of the message.
int64_t PreparedBytes(const std::vector<ClassifyItem>& items, const Servable& servable);

}  // namespace torchd
