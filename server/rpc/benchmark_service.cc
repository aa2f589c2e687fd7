#include "server/rpc/benchmark_service.h"

#include <grpcpp/grpcpp.h>

#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/base/status_macros.h"
#include "server/rpc/benchmark_wire.h"
#include "server/rpc/wire.h"

namespace torchd {
namespace {

using Update = v1::BenchmarkUpdate;

// Lives from the call until gRPC has sent its status, which is after the benchmark was done.
class BenchmarkReactor final : public grpc::ServerWriteReactor<Update> {
 public:
  explicit BenchmarkReactor(std::atomic<int64_t>& in_flight) : in_flight_(in_flight) {
    in_flight_.fetch_add(1);
  }
  ~BenchmarkReactor() override { in_flight_.fetch_sub(1); }

  void Start(Benchmarks& benchmarks, const v1::BenchmarkRequest& request) {
    const absl::Status started = [&]() -> absl::Status {
      TORCHD_ASSIGN_OR_RETURN(BenchmarkSpec spec, FromWire(request));
      return benchmarks.Start(
          std::move(spec),
          {.cancelled = [this] { return cancelled_.load(std::memory_order_relaxed); },
           .progress = [this](const BenchmarkProgress& progress) { Tell(progress); },
           .done = [this](absl::StatusOr<BenchmarkResult> result) { End(std::move(result)); }});
    }();
    if (!started.ok()) Finish(ToWire(started));
  }

 private:
  void OnCancel() override { cancelled_.store(true, std::memory_order_relaxed); }
  void OnDone() override { delete this; }

  // A caller who reads slowly gets the latest only.
  void Tell(const BenchmarkProgress& progress) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      if (std::exchange(writing_, true)) return;
    }
    ToWire(progress, *update_.mutable_progress());
    StartWrite(&update_);
  }

  void End(absl::StatusOr<BenchmarkResult> result) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      ended_ = std::move(result);
      if (std::exchange(writing_, true)) return;
    }
    WriteEnd();
  }

  void OnWriteDone(bool) override ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      writing_ = ended_.has_value();
      if (!writing_) return;
    }
    WriteEnd();
  }

  // What is left once the benchmark has ended: its result, and its status.
  void WriteEnd() ABSL_LOCKS_EXCLUDED(mutex_) {
    bool has_result = false;
    absl::Status status;
    {
      absl::MutexLock lock(&mutex_);
      status = ended_->status();
      has_result = status.ok() && !std::exchange(result_sent_, true);
      if (has_result) ToWire(**ended_, *update_.mutable_result());
    }
    if (has_result) {
      StartWrite(&update_);
    } else {
      Finish(ToWire(status));  // It may be gone from here on.
    }
  }

  std::atomic<int64_t>& in_flight_;
  std::atomic<bool> cancelled_{false};
  // These two are of whoever has set writing_.
  Update update_;
  bool result_sent_ = false;
  absl::Mutex mutex_;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;  // `update_` is being made or sent, or all is.
  std::optional<absl::StatusOr<BenchmarkResult>> ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

grpc::ServerWriteReactor<v1::BenchmarkUpdate>* BenchmarkService::Benchmark(
    grpc::CallbackServerContext*, const v1::BenchmarkRequest* request) {
  auto* reactor = new BenchmarkReactor(in_flight_);  // Deletes itself in OnDone().
  reactor->Start(benchmarks_, *request);
  return reactor;
}

}  // namespace torchd
