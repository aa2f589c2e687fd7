// Runs a model where it will serve until its times have settled, measures what runs of several rows
// take, and asks it for one answer.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/base/clock.h"
#include "server/batching/executors.h"
#include "server/batching/lane.h"
#include "server/config/model_config.h"
#include "server/inference/model.h"

namespace torchd {

struct WarmUpOptions {
  int runs = 4;                // At least, of one row.
  int rows_per_batch_max = 8;  // Where the model's configuration does not say.
  int rows_waiting_max = 256;  // Likewise.
  // For what is beyond one row of one length: what was not measured by then, live runs measure.
  Duration batches_max = std::chrono::seconds(10);
  // For an executor's present run; one that is longer in it is left out.
  Duration executor_wait_max = std::chrono::seconds(30);
};

// The last three runs took at most a quarter more than the fastest of all (or 0.1 ms, which is
// noise).
bool TimesSettled(absl::Span<const Duration> times);

// One run at a time so that requests pass in between, with TrialRow(). One row: options.runs, then
// until times settle, for at most kSettlingMax (a busy machine never settles). Then the model's
// lengths, and numbers of rows: as many as its configuration says, else as many as are worth their
// time: the most that make rows cheaper. A model that does not take several rows, or answers a row
// otherwise in company, runs them one by one.
// The first error ends it; UNAVAILABLE: no executor has time.
inline constexpr Duration kSettlingMax = std::chrono::seconds(3);
absl::StatusOr<std::unique_ptr<Lane>> WarmUp(Model& model, const ModelConfig& config,
                                             const WarmUpOptions& options, Executors& executors,
                                             const Clock& clock);

// What the model makes of TrialRow(), on an executor.
absl::StatusOr<std::vector<Tensor>> RunTrialRow(Model& model, Executors& executors,
                                                Duration executor_wait_max);

}  // namespace torchd
