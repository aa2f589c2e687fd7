// A classifier that AOTInductor compiled for the CPU: a package, `model.pt2`, of native code.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/config/model_config.h"
#include "server/inference/model.h"

namespace torchd {

class AotiModel {
 public:
  // Unpacks the package under TMPDIR, loads it, tries it and removes the unpacked files again: the
  // process keeps what it mapped, so not even a kill leaves any behind.
  //
  // Where `config` declares no inputs, the package says how many there are: one is a picture of
  // [3,crop,crop] or [3,224,224]; with `text:` they are input_ids, attention_mask, token_type_ids.
  // A package whose batch is fixed has to be of batch 1; more rows then run one after another.
  // One for two rows or more, which is what torch.export.Dim gives, runs a lone row twice.
  //
  // NOT_FOUND without a file; INTERNAL when it is damaged or LibTorch rejects it; INVALID_ARGUMENT
  // when it is not a package, not for this machine, of another batch, or contradicts `config`.
  //
  // Thread-safety of the model: a package serves one run per runner; there is one runner for each
  // core, and they share the weights. A run beyond that waits.
  //
  // Requires: PrepareTorchProcess() ran, else the package would not check what it is given.
  // Runs on a thread prepared by PrepareLoaderThread().
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& path,
                                                     const ModelConfig& config);
};

}  // namespace torchd
