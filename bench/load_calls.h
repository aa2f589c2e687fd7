// Sends Classify calls, as planned or as answered, and notes of each what came of it.
//
// Threads: the caller's sends an open loop's calls; one more takes the answers and, of a closed
// loop, sends the next ones. The requests are made once and shared by all calls.
#pragma once

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "bench/arrival_plan.h"
#include "bench/load_report.h"
#include "server/base/clock.h"

namespace torchd::bench {

// One part of the mix: where its calls go and what they say.
struct Destination {
  std::vector<grpc::GenericStub> stubs;  // One per client.
  grpc::ByteBuffer request;
};

class LoadCalls {
 public:
  struct Limits {
    Duration deadline{};  // From the moment a call was planned for; 0: none.
    int in_flight_max = 0;
  };

  // One run per object.
  LoadCalls(std::vector<Destination> destinations, Limits limits);
  ~LoadCalls();
  LoadCalls(const LoadCalls&) = delete;
  LoadCalls& operator=(const LoadCalls&) = delete;

  // Sends each call at its time, or counts it as not sent where too many are in flight. Returns
  // when the last one has ended; what has not ended half a minute after the last was planned is
  // cancelled.
  void RunOpen(ArrivalPlan plan);

  // Keeps one call in flight for each entry of `clients`, which names its client, for `length`.
  // Sends no more once kCallsMax have ended.
  void RunClosed(const std::vector<int>& clients, const std::vector<double>& model_weights,
                 Duration length, uint64_t seed);

  // After the run.
  std::deque<Sample> TakeSamples() { return std::move(samples_); }
  std::deque<PlannedCall> TakeNotSent() { return std::move(not_sent_); }

 private:
  struct Call;
  struct ClosedLoop;

  Duration SinceBegin() const;
  // False when too many are in flight.
  bool Send(const PlannedCall& planned) ABSL_LOCKS_EXCLUDED(mutex_);
  void SendNext(ClosedLoop& loop, int client);
  void TakeAnswers(ClosedLoop* loop);
  void Finish(Call& call) ABSL_LOCKS_EXCLUDED(mutex_);
  void AwaitLastAnswer() ABSL_LOCKS_EXCLUDED(mutex_);

  std::vector<Destination> destinations_;
  const Limits limits_;
  std::vector<std::string> client_names_;
  grpc::CompletionQueue queue_;
  Instant begin_;
  std::chrono::system_clock::time_point begin_wall_;
  std::deque<Sample> samples_;        // Of the thread that takes answers.
  std::deque<PlannedCall> not_sent_;  // Of the thread that sends.

  absl::Mutex mutex_;
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  // A place for each call in flight, so that the last ones can be cancelled.
  std::vector<std::unique_ptr<Call>> places_ ABSL_GUARDED_BY(mutex_);
  std::vector<size_t> free_places_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace torchd::bench
