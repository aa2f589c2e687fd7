// `dynamic_batching` of config.pbtxt: how long rows wait, and how many. Only triton_config.cc
// includes it.
#pragma once

#include "absl/status/status.h"
#include "server/config/model_config.h"
#include "server/config/triton_fields.h"

namespace torchd {

absl::Status TakeDynamicBatching(const TextPlace& place, ModelConfig& model);

}  // namespace torchd
