// Triton's `config.pbtxt`, so that its repositories of PyTorch models serve unchanged. What of it
// torchd honours becomes a ModelConfig; what it does not is listed for the log and the owner;
// docs/model-config.md is the manual.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/model_config.h"

namespace torchd {

struct TritonConfig {
  std::string name;  // Of the model, as its folder should be called; "": not said.
  // The model's file in the version's folder, a plain name that is honoured once the caller looks
  // for it; "": not said.
  std::string default_model_filename;
  // How Triton finds the argument of `forward` that an input goes to. Where the names are those of
  // the arguments themselves they win, which only the loaded model can tell; else as follows.
  // true: every input is named `<name>__<index>`. false: the order of the text.
  // `model.inputs` has that order.
  bool inputs_have_indices = false;
  ModelConfig model;
  // "instance_group (line 12): why" for each thing said that torchd does not do; a path stands
  // once.
  std::vector<std::string> not_honoured;
};

// INVALID_ARGUMENT "config.pbtxt:LINE: ..." for what is not text format, what Triton would refuse
// of a field that we read, and what cannot be served: other backends, ensembles, sequences,
// decoupled answers. `text`: contents of config.pbtxt.
absl::StatusOr<TritonConfig> ParseTritonConfig(const std::string& text);

}  // namespace torchd
