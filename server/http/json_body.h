// A JSON body: read as it comes, without a tree of it in memory, so that a body of 64 MB of "0," or
// of brackets costs no more than what it stands for.
//
//   {"items": [{"image": "<base64>"}, {"text": "a good film"}, {"text": "one", "text_pair": "two"},
//              {"tensors": [{"name": "x", "data_type": "float32", "data": [[1, 2], [3, 4]]}]}],
//    "top_k": 3}
//
// One item may stand by itself: {"text": "a good film", "top_k": 3}.
//
// Thread-safety: a function without state.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/http/classify_body.h"

namespace torchd {

// Adds to `result`. INVALID_ARGUMENT for what is no JSON, or not of this form (unknown keys, keys
// given twice, values of another type); what an item's bytes are worth is the item's status.
absl::Status ReadJsonBody(absl::string_view body, const BodyLimits& limits, ClassifyBody& result);

}  // namespace torchd
