// One row on its way through an executor.
#pragma once

#include <atomic>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/inference/model.h"

namespace torchd {

// What an executor tells about a request that it ran or gave up.
struct RunTimes {
  Instant admitted;
  Instant started;   // Taken from the queue; the run begins.
  Instant finished;  // The run has ended.
  int batch_rows = 0;
};

// Ownership: the queue owns a request from Submit() until its completion has returned.
// Borrowed: `model` and the bytes behind `inputs` outlive the completion.
struct Request {
  Model* model = nullptr;
  RowInputs inputs;
  Instant deadline = kNever;
  // Set by whoever made the request, from any thread; a request still waiting is then dropped.
  const std::atomic<bool>* cancelled = nullptr;

  // Called exactly once, on the executor's thread. On OK `outputs` are this row's, without the
  // batch dimension, valid until it returns. Must not block.
  absl::AnyInvocable<void(const absl::Status& status, const std::vector<TensorView>& outputs,
                          const RunTimes& times)>
      done;

  Instant admitted;  // Set by Submit().
};

}  // namespace torchd
