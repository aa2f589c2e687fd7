// Classify on a stream of both directions: each request read becomes a call of its own, each answer
// is written as soon as it is ready. No more is read than a stream may have under way, so a client
// that does not take its answers is waited for, in its own connection.
//
// Thread-safety: StartClassifyStream() from any of gRPC's threads; nothing blocks.
// Ownership: borrows what Parts names, which outlives the stream. A request lives until the
// classifier has let go of it, which `in_flight` counts and may be after the stream's end.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>

#include "server/base/clock.h"
#include "server/classify/classifier.h"
#include "server/metrics/server_metrics.h"
#include "torchd/v1/inference.pb.h"

namespace torchd {

// From when a request is read until its response is written.
inline constexpr int kStreamRequestsMax = 64;

struct ClassifyStreamParts {
  Classifier& classifier;
  ServerMetrics& metrics;
  const Clock& clock;
  const std::atomic<bool>& refusing;  // True: requests are answered UNAVAILABLE.
  std::atomic<int64_t>& calls;        // Requests that ever came,
  std::atomic<int64_t>& in_flight;    // and those the classifier has not let go of.
};

// Deletes itself once gRPC is done with it.
grpc::ServerBidiReactor<v1::ClassifyStreamRequest, v1::ClassifyStreamResponse>* StartClassifyStream(
    const ClassifyStreamParts& parts, const grpc::CallbackServerContext& context);

}  // namespace torchd
