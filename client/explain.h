// What `torchctl explain-input` says: what a model takes, what becomes of it, and how to send it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "torchd/v1/admin.pb.h"

namespace torchd {

// The version that a call would reach: `version`, or with 0 the highest that is READY.
// INVALID_ARGUMENT where there are several models; NOT_FOUND without such a version; UNAVAILABLE
// with the reasons where none is READY.
absl::StatusOr<v1::ModelVersion> VersionToExplain(const v1::ListModelsResponse& response,
                                                  int64_t version);

// Requires: READY.
std::string ExplainText(const v1::ModelVersion& model);

}  // namespace torchd
