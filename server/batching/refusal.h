// Why a request did not run, as part of its status: for the metrics, and for callers that ask when
// to come again.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/base/clock.h"
#include "server/metrics/server_metrics.h"

namespace torchd {

// RESOURCE_EXHAUSTED with the reason, and the time after which another try may succeed: 1 ms at
// least, 10 s at most.
absl::Status Overloaded(Refusal why, absl::string_view message, Duration retry_after);

// Any other status with the reason.
absl::Status Refused(Refusal why, absl::Status status);

// None where nobody said.
std::optional<Refusal> RefusalIn(const absl::Status& status);
std::optional<Duration> RetryAfter(const absl::Status& status);

}  // namespace torchd
