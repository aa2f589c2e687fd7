// Runs a model on the executors that will serve it, before it is called ready.
#pragma once

#include "absl/status/status.h"
#include "server/batching/executors.h"
#include "server/inference/model.h"

namespace torchd {

// LibTorch profiles a model's first run and compiles in its second: no client should wait for
// that. Runs `runs` rows of zeros on each executor's thread. The first error ends it.
absl::Status WarmUp(Model& model, Executors& executors, int runs);

}  // namespace torchd
