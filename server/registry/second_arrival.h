// A version that serves comes once more, by another plan than it was loaded by.
//
// Thread-safety: functions without state; run on the thread that improves plans.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "server/config/plan.h"
#include "server/metrics/server_metrics.h"
#include "server/registry/arrival.h"
#include "server/registry/memory_budget.h"
#include "server/registry/repository.h"
#include "server/registry/servable.h"

namespace torchd {

// `serving` again by `choice`, of the files of `read`, which hold the same bytes: loaded beside it,
// warmed up, and compared with its answer. What was read of the version's other files stays.
// Errors leave nothing behind.
absl::StatusOr<std::unique_ptr<Servable>> ArriveAgain(const Servable& serving,
                                                      const VersionFolder& read, PlanChoice choice,
                                                      const ArrivalParts& parts,
                                                      MemoryBudget& memory, ServerMetrics& metrics);

}  // namespace torchd
