// What executors run beside rows: RunOnEach() and RunInTurns().
#include <algorithm>
#include <numeric>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "server/batching/executors.h"

namespace torchd {
namespace {

// So soon the caller of RunInTurns() looks whether it is to go on.
constexpr absl::Duration kGoOnPoll = absl::Milliseconds(10);

}  // namespace

int Executors::RunOnEach(const std::function<void()>& task, Duration wait_max) {
  const absl::Time end = absl::Now() + absl::FromChrono(wait_max);
  const Instant stuck = clock_.Now() - wait_max;
  Round round([&task] {
    task();
    return false;
  });
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < rounds_.size(); ++i) {
    if (running_since_[i].load() >= stuck) Queue(i, round);
  }
  work_or_stop_.SignalAll();
  while (!round.over() && !round_over_.WaitWithDeadline(&mutex_, end)) continue;
  Withdraw(round);
  return round.done;
}

int64_t Executors::RunInTurns(int executors, const std::function<bool()>& task,
                              const std::function<bool()>& go_on) {
  Round round(task);
  round.rows_share = kRowsShare;
  {
    absl::MutexLock lock(&mutex_);
    for (const size_t executor : LeastBusy(executors)) Queue(executor, round);
    work_or_stop_.SignalAll();
  }
  while (!OverSoon(round) && go_on()) continue;
  absl::MutexLock lock(&mutex_);
  Withdraw(round);
  return round.rows_went_first;
}

bool Executors::OverSoon(Round& round) {
  absl::MutexLock lock(&mutex_);
  if (!round.over()) round_over_.WaitWithTimeout(&mutex_, kGoOnPoll);
  return round.over();
}

std::vector<size_t> Executors::LeastBusy(int count) const {
  // As they are now: they change while they are compared.
  const std::vector<Instant> since(running_since_.begin(), running_since_.end());
  std::vector<size_t> executors(since.size());
  std::iota(executors.begin(), executors.end(), size_t{0});
  // Those whose present run began last are likely to be free first, the idle ones before them.
  std::stable_sort(executors.begin(), executors.end(),
                   [&since](size_t one, size_t other) { return since[one] > since[other]; });
  executors.resize(std::min(executors.size(), static_cast<size_t>(count)));
  return executors;
}

void Executors::Queue(size_t executor, Round& round) {
  rounds_[executor].push_back(&round);
  ++round.waiting;
}

void Executors::Withdraw(Round& round) {
  round.withdrawn = true;
  for (auto& waiting : rounds_) {
    waiting.erase(std::remove(waiting.begin(), waiting.end(), &round), waiting.end());
  }
  while (round.running > 0) round_over_.Wait(&mutex_);
}

Executors::Work Executors::TakeRound(int self) {
  Work work;
  auto& rounds = rounds_[static_cast<size_t>(self)];
  work.round = rounds.front();
  rounds.pop_front();
  --work.round->waiting;
  ++work.round->running;
  scheduler_.SetBusy(self, clock_.Now(), round_took_);
  // What waited for this executor's last run may run on another now.
  if (scheduler_.rows_waiting() > 0 && idle_ > 0) WakeExecutor();
  return work;
}

void Executors::RunRound(int self, Round& round) {
  const Instant began = clock_.Now();
  const bool again = round.task();
  absl::MutexLock lock(&mutex_);
  const Instant ended = clock_.Now();
  round_took_ = ended - began;
  rows_first_until_[static_cast<size_t>(self)] = ended + round_took_ * round.rows_share;
  --round.running;
  ++round.done;
  if (again && !round.withdrawn) Queue(static_cast<size_t>(self), round);
  if (round.over() || round.withdrawn) round_over_.SignalAll();
}

}  // namespace torchd
