// From our own types to the JSON of replies.
//
// Thread-safety: functions without state.
#pragma once

#include <vector>

#include "absl/types/span.h"
#include "server/classify/flight.h"
#include "server/http/http_message.h"
#include "server/registry/registry.h"

namespace torchd {

// Requires: the status of the call is OK.
HttpReply AnswerReply(const ClassifyAnswer& answer);

// {"models": [...]}. `statuses`: by name and version.
HttpReply ModelsReply(absl::Span<const VersionStatus> statuses);

// One of them; requires that all `statuses` are of one model, and at least one.
HttpReply ModelReply(absl::Span<const VersionStatus> statuses);

HttpReply VersionReply(const VersionStatus& status);

}  // namespace torchd
