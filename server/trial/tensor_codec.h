// What a trial tells about a model, as bytes: its signature, and tensors it gave.
//
// The bytes come from a process that may be hostile. Decoding checks every one of them and never
// allocates more than a small multiple of what it was given.
//
// Thread-safety: functions without state.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/inference/model.h"
#include "server/inference/tensor.h"

namespace torchd {

inline constexpr int kCodecItemsMax = 256;  // Inputs, outputs and tensors, each.
inline constexpr int kCodecRankMax = 32;
inline constexpr int kCodecNameBytesMax = 1024;  // Of an input or output.

struct DecodedTensors {
  ModelSignature signature;
  std::vector<Tensor> tensors;
};

// Requires: within the limits above, and tensors of BytesOf() their shape.
std::string EncodeTensors(const ModelSignature& signature, absl::Span<const Tensor> tensors);

// INVALID_ARGUMENT, naming the place, for anything EncodeTensors() does not write. Sizes in a
// signature are -1 or more; tensors have exactly the bytes of their shape; names are UTF-8 without
// control characters.
absl::StatusOr<DecodedTensors> DecodeTensors(absl::string_view bytes);

}  // namespace torchd
