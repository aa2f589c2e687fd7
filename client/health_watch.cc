#include "client/health_watch.h"

#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

namespace torchd {
namespace {

constexpr char kMethod[] = "/grpc.health.v1.Health/Watch";
constexpr int64_t kPauseMs = 50;
constexpr int64_t kPauseMsMax = 2000;

// On the wire the service's request, a name in field 1, is a StringValue, and its answer, a number
// in field 1, an Int32Value. Generated code of its own would clash with a program's that has it,
// too.
using Request = google::protobuf::StringValue;
using Response = google::protobuf::Int32Value;
using Stub = grpc::TemplatedGenericStub<Request, Response>;

Health HealthOf(const Response& response) {
  if (response.value() == 1) return Health::kServing;
  return response.value() == 2 ? Health::kNotServing : Health::kUnknownService;
}

// Thread-safety: Follow() on one thread, Cancel() on any.
class Watch : public HealthWatch {
 public:
  Watch(std::shared_ptr<grpc::Channel> channel, const std::string& service,
        std::function<void(Health)> changed)
      : changed_(std::move(changed)), stub_(std::move(channel)) {
    request_.set_value(service);
    thread_ = std::thread([this] { Run(); });
  }

  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  ~Watch() override {
    ended_.Notify();
    {
      absl::MutexLock lock(&mutex_);
      if (context_ != nullptr) context_->TryCancel();
    }
    thread_.join();
  }

 private:
  void Run() {
    int64_t pause = kPauseMs;
    while (!ended_.HasBeenNotified()) {
      if (FollowStream()) pause = kPauseMs;
      if (!ended_.HasBeenNotified()) Tell(Health::kUnreachable);
      if (ended_.WaitForNotificationWithTimeout(absl::Milliseconds(pause))) return;
      pause = std::min(2 * pause, kPauseMsMax);
    }
  }

  // Until the stream ends. Whether the server said anything.
  bool FollowStream() ABSL_LOCKS_EXCLUDED(mutex_) {
    grpc::ClientContext context;
    SetContext(&context);
    // Ended before the context was known: nobody would cancel it.
    if (ended_.HasBeenNotified()) context.TryCancel();
    grpc::CompletionQueue queue;
    const auto stream = stub_.PrepareCall(&context, kMethod, &queue);
    const auto done = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    bool answered = false;
    Response response;
    stream->StartCall(nullptr);
    bool going = done();
    if (going) {
      stream->WriteLast(request_, grpc::WriteOptions(), nullptr);
      going = done();
    }
    while (going) {
      stream->Read(&response, nullptr);
      going = done();
      if (!going) break;
      answered = true;
      Tell(HealthOf(response));
    }
    grpc::Status status;
    stream->Finish(&status, nullptr);
    done();
    queue.Shutdown();
    while (done()) {
    }
    SetContext(nullptr);
    return answered;
  }

  void SetContext(grpc::ClientContext* context) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    context_ = context;
  }

  void Tell(Health health) {
    if (health == last_) return;
    last_ = health;
    changed_(health);
  }

  const std::function<void(Health)> changed_;
  Request request_;
  Stub stub_;
  std::optional<Health> last_;  // Of the thread alone.
  absl::Notification ended_;
  absl::Mutex mutex_;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<HealthWatch> WatchHealthOver(std::shared_ptr<grpc::Channel> channel,
                                             const std::string& service,
                                             std::function<void(Health)> changed) {
  return std::make_unique<Watch>(std::move(channel), service, std::move(changed));
}

}  // namespace torchd
