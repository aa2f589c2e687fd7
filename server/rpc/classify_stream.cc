#include "server/rpc/classify_stream.h"

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/batching/refusal.h"
#include "server/rpc/call_facts.h"
#include "server/rpc/wire.h"

namespace torchd {
namespace {

using Request = v1::ClassifyStreamRequest;
using Response = v1::ClassifyStreamResponse;
using Flag = std::shared_ptr<std::atomic<bool>>;

// One more in a counter, as long as it lives.
class Counted {
 public:
  explicit Counted(std::atomic<int64_t>& counter) : counter_(counter) { counter_.fetch_add(1); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  ~Counted() { counter_.fetch_sub(1); }

 private:
  std::atomic<int64_t>& counter_;
};

// A request's message and what else its call borrows.
struct Held {
  Held(std::atomic<int64_t>& counter, Flag stream_cancelled, Request came)
      : counted(counter), cancelled(std::move(stream_cancelled)), message(std::move(came)) {}

  Counted counted;
  Flag cancelled;
  Request message;
};

// On its way back, until gRPC has written it.
struct Reply {
  explicit Reply(std::atomic<int64_t>& counter) : counted(counter) {}

  Counted counted;
  Response message;
};

void Fail(const absl::Status& status, Response& response) {
  response.mutable_error()->set_code(static_cast<int>(status.code()));
  response.mutable_error()->set_message(std::string(status.message()));
  if (const auto retry = RetryAfter(status)) {
    const auto wait = std::chrono::ceil<std::chrono::milliseconds>(*retry);
    response.set_retry_after_ms(static_cast<uint32_t>(wait.count()));
  }
}

class StreamReactor final : public grpc::ServerBidiReactor<Request, Response> {
 public:
  StreamReactor(const ClassifyStreamParts& parts, const grpc::CallbackServerContext& context)
      : parts_(parts), context_(context), client_(CallerOf(context)) {}

  void ReadNext() { StartRead(&next_); }

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

  void Submit(Request message);
  void Answer(std::unique_ptr<Reply> reply);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether the stream has nothing left to do. True once only: then Finish() is to be called.
  bool Ended() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ClassifyStreamParts parts_;
  const grpc::CallbackServerContext& context_;
  const uint64_t client_;
  const Flag cancelled_ = std::make_shared<std::atomic<bool>>(false);
  Request next_;  // Of the read under way.
  absl::Mutex mutex_;
  int open_ ABSL_GUARDED_BY(mutex_) = 0;              // Read, and their response not yet written.
  bool reading_ ABSL_GUARDED_BY(mutex_) = true;       // A read is under way.
  bool half_closed_ ABSL_GUARDED_BY(mutex_) = false;  // Or cancelled: none will come.
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::unique_ptr<Reply>> ready_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Reply> writing_ ABSL_GUARDED_BY(mutex_);
};

bool StreamReactor::Ended() {
  if (ended_ || reading_ || !half_closed_ || open_ > 0) return false;
  ended_ = true;
  return true;
}

void StreamReactor::OnReadDone(bool ok) {
  Request message;
  bool read_on = false;
  bool ended = false;
  {
    absl::MutexLock lock(&mutex_);
    reading_ = false;
    if (ok) {
      message = std::move(next_);
      next_ = Request();
      ++open_;
      read_on = reading_ = open_ < kStreamRequestsMax && !half_closed_;
    } else {
      half_closed_ = true;
      ended = Ended();
    }
  }
  if (ended) return Finish(grpc::Status::OK);
  if (!ok) return;
  // First: the request may run here and now, and the next come meanwhile.
  if (read_on) ReadNext();
  Submit(std::move(message));
}

void StreamReactor::Submit(Request message) {
  const Instant now = parts_.clock.Now();
  parts_.calls.fetch_add(1, std::memory_order_relaxed);
  auto reply = std::make_unique<Reply>(parts_.in_flight);
  reply->message.set_id(message.id());
  if (parts_.refusing.load(std::memory_order_relaxed)) {
    parts_.metrics.refused(Refusal::kDraining).Add();
    Fail(absl::UnavailableError("the server is shutting down"), reply->message);
    return Answer(std::move(reply));
  }
  auto held = std::make_shared<Held>(parts_.in_flight, cancelled_, std::move(message));
  ClassifyCall call = FromWire(held->message.request());
  SetTimes(context_, held->message.request(), now, call);
  call.client = client_;
  call.cancelled = held->cancelled.get();
  call.keeps = std::move(held);
  parts_.classifier.Start(std::move(call),
                          [this, reply = std::move(reply)](const ClassifyAnswer& answer) mutable {
                            if (answer.status.ok()) {
                              ToWire(answer, *reply->message.mutable_response());
                            } else {
                              Fail(answer.status, reply->message);
                            }
                            Answer(std::move(reply));
                          });
}

void StreamReactor::WriteNext() {
  if (writing_ != nullptr || ready_.empty()) return;
  writing_ = std::move(ready_.front());
  ready_.pop_front();
  StartWrite(&writing_->message);
}

void StreamReactor::Answer(std::unique_ptr<Reply> reply) {
  bool ended = false;
  {
    absl::MutexLock lock(&mutex_);
    if (cancelled_->load(std::memory_order_relaxed)) {
      --open_;
      ended = Ended();
    } else {
      ready_.push_back(std::move(reply));
      WriteNext();
    }
  }
  if (ended) Finish(grpc::Status::CANCELLED);
}

void StreamReactor::OnWriteDone(bool ok) {
  bool read_on = false;
  bool ended = false;
  {
    absl::MutexLock lock(&mutex_);
    writing_.reset();
    --open_;
    if (!ok) {  // Nobody takes the others either.
      open_ -= static_cast<int>(ready_.size());
      ready_.clear();
      cancelled_->store(true, std::memory_order_relaxed);
      half_closed_ = true;
    }
    WriteNext();
    read_on = !reading_ && !half_closed_;
    if (read_on) reading_ = true;
    ended = Ended();
  }
  if (read_on) ReadNext();
  if (ended) Finish(ok ? grpc::Status::OK : grpc::Status::CANCELLED);
}

void StreamReactor::OnCancel() {
  bool ended = false;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_->store(true, std::memory_order_relaxed);
    half_closed_ = true;
    open_ -= static_cast<int>(ready_.size());
    ready_.clear();
    ended = Ended();
  }
  if (ended) Finish(grpc::Status::CANCELLED);
}

}  // namespace

grpc::ServerBidiReactor<v1::ClassifyStreamRequest, v1::ClassifyStreamResponse>* StartClassifyStream(
    const ClassifyStreamParts& parts, const grpc::CallbackServerContext& context) {
  auto* reactor = new StreamReactor(parts, context);  // Deletes itself in OnDone().
  reactor->ReadNext();
  return reactor;
}

}  // namespace torchd
