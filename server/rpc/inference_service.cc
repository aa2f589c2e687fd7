#include "server/rpc/inference_service.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/batching/refusal.h"
#include "server/rpc/call_facts.h"
#include "server/rpc/classify_stream.h"
#include "server/rpc/wire.h"

namespace torchd {
namespace {

constexpr char kPushbackKey[] = "grpc-retry-pushback-ms";
constexpr auto kLettingGoPoll = std::chrono::milliseconds(2);

// What a call borrows. An answer at the timeout goes out while the model still reads the request.
class Held final : public grpc::MessageHolder<v1::ClassifyRequest, v1::ClassifyResponse> {
 public:
  explicit Held(std::atomic<int64_t>& in_flight) : in_flight_(in_flight) {
    in_flight_.fetch_add(1);
    set_request(&request_);
    set_response(&response_);
  }
  ~Held() override { in_flight_.fetch_sub(1); }

  // For gRPC, until it calls Release().
  static Held* Make(std::atomic<int64_t>& in_flight) {
    auto held = std::make_shared<Held>(in_flight);
    held->self_ = held;
    return held.get();
  }
  void Release() override { const auto self = std::move(self_); }

  std::shared_ptr<Held> Share() const { return self_; }
  std::atomic<bool>& cancelled() { return cancelled_; }

 private:
  std::atomic<int64_t>& in_flight_;
  v1::ClassifyRequest request_;
  v1::ClassifyResponse response_;
  std::atomic<bool> cancelled_{false};
  std::shared_ptr<Held> self_;
};

// Lives from the call until gRPC has sent the answer.
class ClassifyReactor final : public grpc::ServerUnaryReactor {
 public:
  explicit ClassifyReactor(std::atomic<bool>& cancelled) : cancelled_(cancelled) {}

  void Start(Classifier& classifier, ClassifyCall call, grpc::CallbackServerContext& context,
             v1::ClassifyResponse& response) {
    classifier.Start(std::move(call), [this, &context, &response](const ClassifyAnswer& answer) {
      if (answer.status.ok()) {
        ToWire(answer, response);
      } else if (const auto retry = RetryAfter(answer.status)) {
        const auto wait = std::chrono::ceil<std::chrono::milliseconds>(*retry);
        context.AddTrailingMetadata(kPushbackKey, absl::StrCat(wait.count()));
      }
      Finish(ToWire(answer.status));
    });
  }

 private:
  void OnCancel() override { cancelled_.store(true, std::memory_order_relaxed); }
  void OnDone() override { delete this; }

  std::atomic<bool>& cancelled_;
};

}  // namespace

class InferenceService::Messages final
    : public grpc::MessageAllocator<v1::ClassifyRequest, v1::ClassifyResponse> {
 public:
  explicit Messages(std::atomic<int64_t>& in_flight) : in_flight_(in_flight) {}

  grpc::MessageHolder<v1::ClassifyRequest, v1::ClassifyResponse>* AllocateMessages() override {
    return Held::Make(in_flight_);
  }

 private:
  std::atomic<int64_t>& in_flight_;
};

InferenceService::InferenceService(Classifier& classifier, ServerMetrics& metrics,
                                   const Clock& clock)
    : classifier_(classifier),
      metrics_(metrics),
      clock_(clock),
      messages_(std::make_unique<Messages>(in_flight_)) {
  SetMessageAllocatorFor_Classify(messages_.get());
}

InferenceService::~InferenceService() {
  while (in_flight() > 0) std::this_thread::sleep_for(kLettingGoPoll);
}

grpc::ServerUnaryReactor* InferenceService::Classify(grpc::CallbackServerContext* context,
                                                     const v1::ClassifyRequest* request,
                                                     v1::ClassifyResponse* response) {
  const Instant now = clock_.Now();
  calls_.fetch_add(1, std::memory_order_relaxed);
  if (refusing_.load(std::memory_order_relaxed)) {
    metrics_.refused(Refusal::kDraining).Add();
    grpc::ServerUnaryReactor* refused = context->DefaultReactor();
    refused->Finish({grpc::StatusCode::UNAVAILABLE, "the server is shutting down"});
    return refused;
  }
  ClassifyCall call = FromWire(*request);
  SetTimes(*context, *request, now, call);
  call.client = CallerOf(*context);
  auto& held = static_cast<Held&>(*context->GetRpcAllocatorState());
  call.cancelled = &held.cancelled();
  call.keeps = held.Share();
  auto* reactor = new ClassifyReactor(held.cancelled());  // Deletes itself in OnDone().
  reactor->Start(classifier_, std::move(call), *context, *response);
  return reactor;
}

grpc::ServerBidiReactor<v1::ClassifyStreamRequest, v1::ClassifyStreamResponse>*
InferenceService::ClassifyStream(grpc::CallbackServerContext* context) {
  return StartClassifyStream({classifier_, metrics_, clock_, refusing_, calls_, in_flight_},
                             *context);
}

}  // namespace torchd
