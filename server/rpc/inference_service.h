// Classify on the gRPC callback API: the wire in, a ClassifyCall on, the wire out.
//
// Thread-safety: gRPC calls it from many threads; nothing blocks.
// Ownership: borrows classifier, metrics and clock, which outlive it. The messages of a call live
// until gRPC has sent the answer and the classifier has let go of them; the destructor waits for
// that.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "server/base/clock.h"
#include "server/classify/classifier.h"
#include "server/metrics/server_metrics.h"
#include "torchd/v1/inference.grpc.pb.h"

namespace torchd {

class InferenceService final : public v1::InferenceService::CallbackService {
 public:
  InferenceService(Classifier& classifier, ServerMetrics& metrics, const Clock& clock);
  ~InferenceService() override;

  grpc::ServerUnaryReactor* Classify(grpc::CallbackServerContext* context,
                                     const v1::ClassifyRequest* request,
                                     v1::ClassifyResponse* response) override;

  grpc::ServerBidiReactor<v1::ClassifyStreamRequest, v1::ClassifyStreamResponse>* ClassifyStream(
      grpc::CallbackServerContext* context) override;

  // From now on every call is answered UNAVAILABLE, and counted as draining.
  void Refuse() { refusing_.store(true, std::memory_order_relaxed); }

  // That ever came, those on streams too.
  int64_t calls() const { return calls_.load(std::memory_order_relaxed); }

  // Accepted, and not yet answered down to the socket and let go of by the classifier.
  int64_t in_flight() const { return in_flight_.load(); }

 private:
  class Messages;

  std::atomic<bool> refusing_{false};
  std::atomic<int64_t> calls_{0};
  std::atomic<int64_t> in_flight_{0};
  Classifier& classifier_;
  ServerMetrics& metrics_;
  const Clock& clock_;
  const std::unique_ptr<Messages> messages_;
};

}  // namespace torchd
