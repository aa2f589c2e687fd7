// A loaded version of a classifier. Batching, registry and tests see only this: no LibTorch.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/config/plan.h"
#include "server/inference/tensor.h"

namespace torchd {

struct ModelSignature {
  std::vector<TensorSpec> inputs;   // In the order Run() takes them.
  std::vector<TensorSpec> outputs;  // In the order Run() gives them; [0] are the scores.
};

// One request's inputs, without the batch dimension, in the order of ModelSignature::inputs.
using RowInputs = std::vector<TensorView>;

// Thread-safety: all methods; several executors of a device may run the same model at once.
class Model {
 public:
  using PlanFailed = std::function<void(Plan plan, const std::string& reason)>;

  virtual ~Model() = default;

  virtual const ModelSignature& signature() const = 0;

  // Runs `rows` as one batch. On OK `outputs` holds one tensor per output, the batch first:
  // row i of the scores belongs to rows[i]. Requires: rows match the signature and each other.
  // Only executors call it.
  virtual absl::Status Run(absl::Span<const RowInputs* const> rows,
                           std::vector<Tensor>& outputs) = 0;

  // By which it runs.
  virtual Plan plan() const { return kDefaultPlan; }
  // On how many of an executor's threads; 0: on all of them.
  virtual int threads() const { return 0; }
  // Runs in which the chosen plan failed and the model as it was saved did not.
  virtual int64_t fallbacks() const { return 0; }
  // What the first of these failed with; empty: there was none.
  virtual std::string fallback_reason() const { return ""; }
  // `tell` is called once, at the first of these, on the thread that runs it; at once where that
  // was while the model was loaded. A model does not know what it is called: its owner does. Before
  // anyone else knows the model.
  virtual void TellOfFailedPlan(PlanFailed /*tell*/) {}  // NOLINT(*-value-param): others keep it.
  // Whether several rows are run together; else one after another, which saves no time.
  virtual bool batches() const { return true; }

  // It is warm: what takes long, such as compiling for a shape, is not done any more.
  virtual void Settle() {}
};

}  // namespace torchd
