#include "server/batching/executors.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/base/thread_pool.h"
#include "server/batching/refusal.h"

namespace torchd {
namespace {

// Waking a thread takes about as long.
constexpr Duration kGuestRunMax = std::chrono::microseconds(150);

// Row `row` of each output, without the batch dimension.
std::vector<TensorView> RowOf(const std::vector<Tensor>& outputs, size_t row) {
  std::vector<TensorView> views;
  views.reserve(outputs.size());
  for (const Tensor& output : outputs) {
    TensorView view = output.View();
    view.bytes /= static_cast<size_t>(view.shape[0]);
    view.data = static_cast<const char*>(view.data) + row * view.bytes;
    view.shape.erase(view.shape.begin());
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace

Executors::Executors(Options options, const Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      running_since_(static_cast<size_t>(options_.threads)),
      scheduler_(options_.threads) {
  for (auto& since : running_since_) since = kNever;
  {
    absl::MutexLock lock(&mutex_);
    rounds_.resize(static_cast<size_t>(options_.threads));
    states_.resize(static_cast<size_t>(options_.threads), State::kBusy);
    rows_first_until_.resize(static_cast<size_t>(options_.threads), Instant::min());
  }
  for (int i = 0; i < options_.threads; ++i) {
    threads_.emplace_back([this, i] { Serve(i); });
  }
  sweeper_ = std::thread([this] { Sweep(); });
}

Executors::~Executors() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    work_or_stop_.SignalAll();
    sweep_or_stop_.SignalAll();
  }
  for (std::thread& thread : threads_) thread.join();
  sweeper_.join();
}

absl::Status Executors::Submit(std::unique_ptr<Request>&& request) {
  Work work;
  absl::Status pushed;
  int lent = -1;
  const Lane& lane = *request->lane;
  // A guest would hold up what follows.
  const bool may_lend = options_.prepare_guest && request->alone;
  const ShapeClass shape =
      may_lend ? ShapeClassOf(lane.model.signature(), request->inputs) : ShapeClass();
  {
    absl::MutexLock lock(&mutex_);
    pushed = scheduler_.Push(std::move(request), clock_.Now(), work.dropped);
    if (pushed.ok() && may_lend) lent = Borrow(lane, shape);
    if (lent >= 0) {
      work.batch = scheduler_.Next(lent, clock_.Now(), work.dropped);
    } else if (idle_ > 0) {
      WakeExecutor();
    } else {
      WakeSweeper();
    }
  }
  if (lent >= 0) {
    RunAsGuest(lent, std::move(work));
  } else {
    Answer(work.dropped);
  }
  return pushed;
}

int Executors::Borrow(const Lane& lane, const ShapeClass& shape) {
  const Model& model = lane.model;
  const bool opens_team = NeedsTeam(model.plan()) && model.threads() != 1;
  if (idle_ == 0 || scheduler_.rows_waiting() > 1 || opens_team) return -1;
  const Duration run = lane.costs.MeasuredMean(shape, lane.options.buckets.front());
  if (run == Duration(0) || run > kGuestRunMax) return -1;
  const auto idle = std::find(states_.begin(), states_.end(), State::kIdle);
  *idle = State::kLent;
  --idle_;
  return static_cast<int>(idle - states_.begin());
}

void Executors::RunAsGuest(int self, Work work) {
  thread_local bool prepared = false;
  if (!std::exchange(prepared, true)) options_.prepare_guest();
  std::atomic<Instant>& running_since = running_since_[static_cast<size_t>(self)];
  running_since = clock_.Now();
  Instant ended = clock_.Now();
  if (!work.batch.rows.empty()) ended = Run(work.batch);
  Answer(work.dropped);
  running_since = kNever;
  absl::MutexLock lock(&mutex_);
  const Instant now = clock_.Now();
  scheduler_.Finished(self, now, now - ended);
  states_[static_cast<size_t>(self)] = State::kIdle;  // Its thread waits, as before.
  ++idle_;
  const bool wanted =
      scheduler_.rows_waiting() > 0 || stopping_ || !rounds_[static_cast<size_t>(self)].empty();
  if (wanted) work_or_stop_.SignalAll();
}

int Executors::BusySince(Instant start) const {
  return static_cast<int>(
      std::count_if(running_since_.begin(), running_since_.end(),
                    [start](const auto& since) { return since.load() < start; }));
}

int Executors::rows_waiting() const {
  absl::MutexLock lock(&mutex_);
  return scheduler_.rows_waiting();
}

int Executors::RowsBefore(const Lane& lane, Priority priority, uint64_t client) const {
  absl::MutexLock lock(&mutex_);
  return scheduler_.RowsBefore(lane, priority, client);
}

int Executors::RowsWaiting(const Lane& lane) const {
  absl::MutexLock lock(&mutex_);
  return scheduler_.RowsWaiting(lane);
}

void Executors::WaitForWork(int self) {
  const Instant hold_end = scheduler_.NextHoldEnd();
  State& state = states_[static_cast<size_t>(self)];
  state = State::kIdle;
  ++idle_;
  if (hold_end == kNever) {
    work_or_stop_.Wait(&mutex_);
  } else {
    const Duration left = std::max(hold_end - clock_.Now(), Duration(1));
    work_or_stop_.WaitWithTimeout(&mutex_, absl::FromChrono(left));
  }
  while (state == State::kLent) work_or_stop_.Wait(&mutex_);
  state = State::kBusy;
  --idle_;
}

Executors::Work Executors::Take(int self, Duration answering) {
  Work work;
  absl::MutexLock lock(&mutex_);
  const auto& rounds = rounds_[static_cast<size_t>(self)];
  scheduler_.Finished(self, clock_.Now(), answering);
  while (true) {
    const Instant now = clock_.Now();
    const bool rows_first = now < rows_first_until_[static_cast<size_t>(self)];
    if (!rounds.empty() && !rows_first) return TakeRound(self);
    // A warm-up's run is not shorter than a wait for company, and after the end nobody comes.
    const bool may_hold = rounds.empty() && !stopping_;
    work.batch = scheduler_.Next(self, now, work.dropped, may_hold);
    if (scheduler_.rows_waiting() > 0) {
      // Whoever waits on, for a turn or for company, may expire meanwhile; and what was held for
      // company may be another's to run.
      WakeSweeper();
      if (!work.batch.rows.empty() && idle_ > 0) WakeExecutor();
    }
    if (!work.batch.rows.empty() && !rounds.empty()) ++rounds.front()->rows_went_first;
    if (!work.batch.rows.empty() || !work.dropped.empty()) return work;
    if (!rounds.empty()) return TakeRound(self);
    if (stopping_ && scheduler_.rows_waiting() == 0) {
      work_or_stop_.SignalAll();  // The others may wait for what this one ran.
      work.end = true;
      return work;
    }
    WaitForWork(self);
  }
}

void Executors::Serve(int self) {
  NameThisThread(absl::StrCat("exec-", options_.device, "-", self));
  options_.prepare_thread();
  std::atomic<Instant>& running_since = running_since_[static_cast<size_t>(self)];
  Duration answering{0};
  while (true) {
    Work work = Take(self, answering);
    if (work.end) return;
    Instant ended = clock_.Now();
    if (work.round != nullptr || !work.batch.rows.empty()) running_since = ended;
    if (work.round != nullptr) RunRound(self, *work.round);
    if (work.batch.rows.empty()) {
      Answer(work.dropped);
    } else {
      HandOver(work.dropped);
      ended = Run(work.batch);
    }
    running_since = kNever;
    answering = clock_.Now() - ended;
  }
}

void Executors::WakeExecutor() {
  // One whose place is lent would go back to sleep, and nobody else would wake.
  const bool any_lent = std::count(states_.begin(), states_.end(), State::kLent) > 0;
  if (any_lent) {
    work_or_stop_.SignalAll();
  } else {
    work_or_stop_.Signal();
  }
}

void Executors::WakeSweeper() {
  if (scheduler_.NextSweepTime() < sweeper_wakes_) sweep_or_stop_.Signal();
}

// Answers those whose time has come while every executor is busy.
void Executors::Sweep() {
  NameThisThread(absl::StrCat("sweep-", options_.device));
  while (true) {
    Dropped dropped;
    {
      absl::MutexLock lock(&mutex_);
      dropped.swap(to_answer_);
      if (stopping_ && dropped.empty()) return;
      const Instant now = clock_.Now();
      const Instant due = scheduler_.NextSweepTime();
      if (!dropped.empty() || stopping_) {
        sweeper_wakes_ = Instant::min();
      } else if (due <= now) {
        scheduler_.Sweep(now, dropped);
      } else {
        sweeper_wakes_ = due;
        sweep_or_stop_.WaitWithTimeout(
            &mutex_, due == kNever ? absl::InfiniteDuration() : absl::FromChrono(due - now));
        sweeper_wakes_ = Instant::min();  // Awake: it looks by itself.
      }
    }
    Answer(dropped);
  }
}

absl::Status Executors::RunRows(Lane& lane, const std::vector<const RowInputs*>& rows,
                                RunTimes& times, std::vector<Tensor>& outputs) {
  times.started = clock_.Now();
  absl::Status ran = lane.model.Run(absl::MakeConstSpan(rows), outputs);
  times.finished = clock_.Now();
  return ran;
}

Instant Executors::Run(Batch& batch) {
  const size_t count = batch.rows.size();
  std::vector<const RowInputs*> rows;
  rows.reserve(static_cast<size_t>(batch.bucket));
  for (const auto& request : batch.rows) rows.push_back(&request->inputs);
  rows.resize(static_cast<size_t>(batch.bucket), rows.back());  // A padded row's answer is ignored.
  std::vector<Tensor> outputs;
  RunTimes times;
  times.batch_rows = static_cast<int>(count);
  times.reason = batch.reason;
  rows_running_.fetch_add(times.batch_rows, std::memory_order_relaxed);
  const absl::Status ran = RunRows(*batch.lane, rows, times, outputs);
  rows_running_.fetch_sub(times.batch_rows, std::memory_order_relaxed);
  rows_run_.fetch_add(times.batch_rows, std::memory_order_relaxed);
  if (ran.ok()) batch.lane->costs.Add(batch.shape, batch.bucket, times.finished - times.started);
  if (!ran.ok() && count > 1) {
    RunOneByOne(batch);
    return times.finished;
  }
  for (size_t row = 0; row < count; ++row) {
    Request& request = *batch.rows[row];
    times.admitted = request.admitted;
    times.leads = row == 0;
    request.done(ran, ran.ok() ? RowOf(outputs, row) : std::vector<TensorView>(), times);
  }
  return times.finished;
}

// One row's fault must not cost the others their answers.
void Executors::RunOneByOne(Batch& batch) {
  const auto bucket = static_cast<size_t>(batch.lane->options.buckets.front());
  for (size_t next = 0; next < batch.rows.size(); ++next) {
    Dropped gone;
    const Instant now = clock_.Now();
    for (size_t i = next; i < batch.rows.size(); ++i) {
      absl::Status why = batch.rows[i] == nullptr ? absl::OkStatus() : WhyGone(*batch.rows[i], now);
      if (!why.ok()) gone.push_back({std::move(batch.rows[i]), std::move(why)});
    }
    HandOver(gone);
    if (batch.rows[next] == nullptr) continue;
    Request& request = *batch.rows[next];
    RunTimes times;
    times.admitted = request.admitted;
    times.batch_rows = 1;
    times.reason = Dispatch::kRetry;
    times.leads = true;
    std::vector<Tensor> outputs;
    const std::vector<const RowInputs*> rows(bucket, &request.inputs);
    const absl::Status ran = RunRows(*batch.lane, rows, times, outputs);
    request.done(ran, ran.ok() ? RowOf(outputs, 0) : std::vector<TensorView>(), times);
    batch.rows[next] = nullptr;
  }
}

void Executors::HandOver(Dropped& dropped) {
  if (dropped.empty()) return;
  {
    absl::MutexLock lock(&mutex_);
    if (!stopping_) {
      std::move(dropped.begin(), dropped.end(), std::back_inserter(to_answer_));
      dropped.clear();
      sweep_or_stop_.Signal();
    }
  }
  Answer(dropped);
}

void Executors::Answer(Dropped& dropped) const {
  const Instant now = clock_.Now();
  for (DroppedRequest& one : dropped) {
    RunTimes times;
    times.admitted = one.request->admitted;
    times.started = times.finished = now;
    one.request->done(one.why, {}, times);
  }
  dropped.clear();
}

}  // namespace torchd
