// The requests that load_generator sends: one item of tensors, made once and sent again and again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "torchd/v1/admin.pb.h"
#include "torchd/v1/inference.pb.h"

namespace torchd::bench {

struct Fill {
  bool random = false;  // -1..1, or 0..99 for whole numbers; else ones.
  uint64_t seed = 1;
  int64_t length = 16;  // For sizes that the model leaves open.
};

// A request for the highest version that is READY. FAILED_PRECONDITION when none is or it takes no
// tensors; INVALID_ARGUMENT when its tensors would be larger than a call may be.
absl::StatusOr<v1::ClassifyRequest> RequestFor(const std::string& model,
                                               const v1::ListModelsResponse& listing,
                                               const Fill& fill);

// A request with one uint8 tensor of `bytes`, for a server that does not look at it.
v1::ClassifyRequest EchoRequest(size_t bytes);

}  // namespace torchd::bench
