#include "server/rpc/inference_service.h"

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <utility>

#include "server/rpc/wire.h"

namespace torchd {
namespace {

// gRPC's deadline is wall-clock time; ours is what remains of it on the monotonic clock.
Instant DeadlineOf(const grpc::CallbackServerContext& context, Instant now) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return kNever;
  const auto remaining = deadline - std::chrono::system_clock::now();
  if (remaining > std::chrono::hours(24 * 365)) return kNever;
  return now + std::chrono::duration_cast<Duration>(remaining);
}

// Lives from the call until gRPC has sent the answer; the request message does, too.
class ClassifyReactor final : public grpc::ServerUnaryReactor {
 public:
  explicit ClassifyReactor(std::atomic<int64_t>& in_flight) : in_flight_(in_flight) {
    in_flight_.fetch_add(1);
  }

  void Start(Classifier& classifier, ClassifyCall call, v1::ClassifyResponse& response) {
    call.cancelled = &cancelled_;
    classifier.Start(std::move(call), [this, &response](const ClassifyAnswer& answer) {
      if (answer.status.ok()) ToWire(answer, response);
      Finish(ToWire(answer.status));
    });
  }

 private:
  void OnCancel() override { cancelled_.store(true, std::memory_order_relaxed); }
  void OnDone() override {
    in_flight_.fetch_sub(1);
    delete this;
  }

  std::atomic<int64_t>& in_flight_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace

grpc::ServerUnaryReactor* InferenceService::Classify(grpc::CallbackServerContext* context,
                                                     const v1::ClassifyRequest* request,
                                                     v1::ClassifyResponse* response) {
  const Instant now = clock_.Now();
  calls_.fetch_add(1, std::memory_order_relaxed);
  if (refusing_.load(std::memory_order_relaxed)) {
    grpc::ServerUnaryReactor* refused = context->DefaultReactor();
    refused->Finish({grpc::StatusCode::UNAVAILABLE, "the server is shutting down"});
    return refused;
  }
  ClassifyCall call = FromWire(*request);
  call.arrival = now;
  call.deadline = DeadlineOf(*context, now);
  auto* reactor = new ClassifyReactor(in_flight_);  // Deletes itself in OnDone().
  reactor->Start(classifier_, std::move(call), *response);
  return reactor;
}

}  // namespace torchd
