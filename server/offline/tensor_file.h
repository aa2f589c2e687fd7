// One row's tensor from a file: its elements, little-endian, or a .npy file of NumPy's.
//
// Thread-safety: functions without state.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/inference/tensor.h"

namespace torchd {

// `bytes`: the file's; `name`: what an error calls it. A file that begins as a .npy file does is
// one. INVALID_ARGUMENT says what the model's input declares, how many bytes that is, and what
// came. A raw file tells one size that the input leaves open; more than one only a .npy file can.
absl::StatusOr<Tensor> ParseTensorFile(absl::string_view bytes, absl::string_view name,
                                       const TensorSpec& input);

// NOT_FOUND, INVALID_ARGUMENT naming the file.
absl::StatusOr<Tensor> ReadTensorFile(const std::string& path, const TensorSpec& input);

}  // namespace torchd
