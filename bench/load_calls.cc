#include "bench/load_calls.h"

#include <errno.h>
#include <sys/prctl.h>
#include <time.h>

#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/base/thread_pool.h"

namespace torchd::bench {
namespace {

constexpr char kMethod[] = "/torchd.v1.InferenceService/Classify";
constexpr char kClientKey[] = "torchd-client";
constexpr absl::Duration kLastAnswerMax = absl::Seconds(30);
constexpr unsigned long kTimerSlackNanoseconds = 1000;  // Linux's own is 50 us.

// steady_clock is CLOCK_MONOTONIC.
void SleepUntil(Instant until) {
  const auto since_start = until.time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_start);
  const timespec when = {seconds.count(), static_cast<long>((since_start - seconds).count())};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, nullptr) == EINTR) continue;
}

}  // namespace

struct LoadCalls::Call {
  PlannedCall planned;
  Duration sent{};
  size_t place = 0;
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientAsyncResponseReader<grpc::ByteBuffer>> reader;
  grpc::ByteBuffer response;
  grpc::Status status;
};

struct LoadCalls::ClosedLoop {
  const std::vector<int>& clients;
  WeightedChoice models;
  Duration length;
  std::mt19937_64 random;
};

LoadCalls::LoadCalls(std::vector<Destination> destinations, Limits limits)
    : destinations_(std::move(destinations)), limits_(limits) {
  for (size_t i = 0; i < destinations_[0].stubs.size(); ++i) {
    client_names_.push_back(absl::StrCat("client-", i));
  }
}

LoadCalls::~LoadCalls() = default;

Duration LoadCalls::SinceBegin() const { return std::chrono::steady_clock::now() - begin_; }

bool LoadCalls::Send(const PlannedCall& planned) {
  auto owned = std::make_unique<Call>();
  Call& call = *owned;
  {
    absl::MutexLock lock(&mutex_);
    if (in_flight_ >= limits_.in_flight_max) return false;
    ++in_flight_;
    if (free_places_.empty()) {
      free_places_.push_back(places_.size());
      places_.emplace_back();
    }
    call.place = free_places_.back();
    free_places_.pop_back();
    places_[call.place] = std::move(owned);
  }
  call.planned = planned;
  call.context.AddMetadata(kClientKey, client_names_[planned.client]);
  if (limits_.deadline > Duration::zero()) {
    call.context.set_deadline(begin_wall_ + planned.at + limits_.deadline);
  }
  call.sent = SinceBegin();
  Destination& destination = destinations_[planned.model];
  call.reader = destination.stubs[planned.client].PrepareUnaryCall(&call.context, kMethod,
                                                                   destination.request, &queue_);
  call.reader->StartCall();
  call.reader->Finish(&call.response, &call.status, &call);
  return true;
}

void LoadCalls::Finish(Call& call) {
  samples_.push_back(
      {call.planned, call.sent, SinceBegin(), static_cast<uint8_t>(call.status.error_code())});
  std::unique_ptr<Call> ended;  // Destroyed without the mutex.
  absl::MutexLock lock(&mutex_);
  ended = std::move(places_[call.place]);
  free_places_.push_back(ended->place);
  --in_flight_;
}

void LoadCalls::SendNext(ClosedLoop& loop, int client) {
  const double share = std::uniform_real_distribution<double>(0, 1)(loop.random);
  Send({SinceBegin(), 0, loop.models.At(share), client});
}

void LoadCalls::TakeAnswers(ClosedLoop* loop) {
  NameThisThread("answers");
  if (loop != nullptr) {
    for (const int client : loop->clients) SendNext(*loop, client);
  }
  void* tag = nullptr;
  bool ok = false;  // Always, of a call's end.
  while (queue_.Next(&tag, &ok)) {
    Call& call = *static_cast<Call*>(tag);
    const int client = call.planned.client;
    Finish(call);
    if (loop == nullptr || samples_.size() >= kCallsMax) continue;
    if (SinceBegin() < loop->length) SendNext(*loop, client);
  }
}

void LoadCalls::AwaitLastAnswer() {
  const auto none_in_flight = [this]()
                                  ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return in_flight_ == 0; };
  absl::MutexLock lock(&mutex_);
  if (mutex_.AwaitWithTimeout(absl::Condition(&none_in_flight), kLastAnswerMax)) return;
  for (const std::unique_ptr<Call>& call : places_) {
    if (call != nullptr) call->context.TryCancel();
  }
  mutex_.Await(absl::Condition(&none_in_flight));  // gRPC ends a cancelled call at once.
}

void LoadCalls::RunOpen(ArrivalPlan plan) {
  prctl(PR_SET_TIMERSLACK, kTimerSlackNanoseconds);
  begin_ = std::chrono::steady_clock::now();
  begin_wall_ = std::chrono::system_clock::now();
  std::thread answers([this] { TakeAnswers(nullptr); });
  while (const std::optional<PlannedCall> call = plan.Next()) {
    if (SinceBegin() < call->at) SleepUntil(begin_ + call->at);
    if (!Send(*call)) not_sent_.push_back(*call);
  }
  AwaitLastAnswer();
  queue_.Shutdown();
  answers.join();
}

void LoadCalls::RunClosed(const std::vector<int>& clients, const std::vector<double>& model_weights,
                          Duration length, uint64_t seed) {
  ClosedLoop loop{clients, WeightedChoice(model_weights), length, std::mt19937_64(seed)};
  begin_ = std::chrono::steady_clock::now();
  begin_wall_ = std::chrono::system_clock::now();
  std::thread answers([this, &loop] { TakeAnswers(&loop); });
  SleepUntil(begin_ + length);
  AwaitLastAnswer();
  queue_.Shutdown();
  answers.join();
}

}  // namespace torchd::bench
