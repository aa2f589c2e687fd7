// Runs a model where it will serve until its times have settled, and asks it for one answer.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/base/clock.h"
#include "server/batching/executors.h"
#include "server/inference/model.h"

namespace torchd {

// The last three runs took at most a quarter more than the fastest of all (or 0.1 ms, which is
// noise).
bool TimesSettled(absl::Span<const Duration> times);

// On every executor, one run at a time so that requests pass in between, with TrialRow(): `runs`,
// then until times settle, for at most kSettlingMax (a busy machine never settles). The first error
// ends it.
inline constexpr Duration kSettlingMax = std::chrono::seconds(3);
absl::Status WarmUp(Model& model, Executors& executors, const Clock& clock, int runs);

// What the model makes of TrialRow(), on an executor.
absl::StatusOr<std::vector<Tensor>> RunTrialRow(Model& model, Executors& executors);

}  // namespace torchd
