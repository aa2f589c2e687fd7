// The inputs and outputs of config.pbtxt: read as they stand, then put into the model's order and
// torchd's words. Only triton_config.cc includes it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/config/model_config.h"
#include "server/config/triton_fields.h"

namespace torchd {

// As written: `dims` may still begin with the batch dimension.
struct TritonTensor {
  struct Size {
    int64_t value = 0;
    int line = 0;
  };

  std::string path;  // "input[0]"
  int line = 0;
  std::string name;
  std::string data_type;   // Of an input in torchd's words, of an output in Triton's.
  std::vector<Size> dims;  // At least one.
  std::optional<std::vector<Size>> reshape;
  int reshape_line = 0;
  std::string label_filename;
};

// What stands at `place`, to the end of the list.
absl::Status TakeInput(const TextPlace& place, std::vector<TritonTensor>& inputs);
absl::Status TakeOutput(const TextPlace& place, std::vector<TritonTensor>& outputs);

// Whether every name is `<name>__<index>`, the naming convention of Triton's PyTorch backend.
bool HaveIndices(const std::vector<TritonTensor>& tensors);

// In the order of the indices, without gaps, or of the text. `dims_have_batch`: the first of dims
// is the batch dimension, which is dropped.
absl::StatusOr<std::vector<TensorConfig>> InputsOf(std::vector<TritonTensor> tensors,
                                                   bool dims_have_batch, NotHonoured& not_honoured);

// Sets `output_names` and `output_shapes`, and `labels` where the first output names a file of
// them.
absl::Status TakeOutputsOver(std::vector<TritonTensor> tensors, bool dims_have_batch,
                             NotHonoured& not_honoured, ModelConfig& config);

}  // namespace torchd
