// What every model that LibTorch runs has in common: rows become tensors, tensors become rows, and
// a trial run tells the outputs. Private to the folder `execution`.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/config/model_config.h"
#include "server/inference/model.h"

namespace torchd {

using Inputs = std::vector<TensorSpec>;

// Thread-safety: as Model says; TryWith(), until one is OK, before anyone else knows the model.
class TensorModel : public Model {
 public:
  const ModelSignature& signature() const final { return signature_; }

  int threads() const final { return threads_; }

  absl::Status Run(absl::Span<const RowInputs* const> rows, std::vector<Tensor>& outputs) final;

  // From now on, as threads() says. Like TryWith().
  void KeepTo(int threads) { threads_ = threads; }

  // Runs a row of ones that looks like `inputs`, checks that scores come out, and makes these the
  // signature. Its error names the shapes that were tried. `names`: of the outputs, as far as they
  // have any.
  absl::Status TryWith(const Inputs& inputs, const std::vector<std::string>& names);

 protected:
  // Runs one row `times` over as one batch.
  absl::Status RunOnes(size_t times, std::vector<Tensor>& outputs);

 private:
  // Throws what LibTorch throws. `inputs`: the batch first; they borrow from the rows, so they and
  // what shares their memory end with Run().
  virtual std::vector<at::Tensor> Forward(std::vector<at::Tensor> inputs) = 0;

  absl::Status Explained(const absl::Status& ran, const RowInputs& row) const;

  ModelSignature signature_;
  int threads_ = 0;
};

// The inputs that the configuration declares; none where it declares none.
absl::StatusOr<std::vector<TensorSpec>> DeclaredInputs(const ModelConfig& config);

// By name where `names`, those that the model's forward takes, has them all; else as declared.
std::vector<TensorSpec> InOrderOf(const std::vector<std::string>& names,
                                  std::vector<TensorSpec> declared);

// The inputs that follow from `names` and the `image:` or `text:` section; none where neither does.
std::optional<Inputs> ConfiguredInputs(const std::vector<std::string>& names,
                                       const ModelConfig& config);

// The place of the first guess that `attempt` gets to run. INVALID_ARGUMENT, naming all that were
// tried, when there is none; an error that no other guess would mend, such as a lack of memory, as
// it is.
absl::StatusOr<size_t> FirstThatRuns(const std::vector<Inputs>& guesses,
                                     absl::FunctionRef<absl::Status(const Inputs&)> attempt);

}  // namespace torchd
