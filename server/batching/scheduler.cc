#include "server/batching/scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/batching/refusal.h"

namespace torchd {
namespace {

// How long a row without a deadline may wait before it is as urgent as one whose deadline is now.
constexpr Duration kPatience = std::chrono::milliseconds(500);
// Cancelled rows are found this soon; a deadline is met to the moment.
constexpr Duration kSweepEvery = std::chrono::milliseconds(20);
// An executor that waits for company wakes this much later than it should, at most, as a rule.
constexpr Duration kWakeLate = std::chrono::milliseconds(1);
constexpr int kTryEvery = 16;

bool IsGone(const Request& request, Instant now) {
  return request.deadline <= now || IsCancelled(request);
}

// gRPC cancels what is past its deadline: that is still the deadline's doing.
absl::Status WhyGone(const Request& request, Instant now) {
  if (request.deadline > now) {
    return absl::CancelledError("the caller cancelled while the request queued");
  }
  return Refused(Refusal::kDeadline,
                 absl::DeadlineExceededError("the deadline passed while the request queued"));
}

int64_t Milliseconds(Duration duration) { return Microseconds(duration) / 1000; }

}  // namespace

Scheduler::LaneState& Scheduler::StateOf(Lane& lane) {
  for (const auto& state : lanes_) {
    if (state->lane == &lane) return *state;
  }
  lanes_.push_back(std::make_unique<LaneState>());
  lanes_.back()->lane = &lane;
  return *lanes_.back();
}

void Scheduler::EraseIfDone(LaneState& lane) {
  if (lane.rows > 0 || lane.running > 0) return;
  lanes_.erase(std::find_if(lanes_.begin(), lanes_.end(),
                            [&](const auto& state) { return state.get() == &lane; }));
}

int Scheduler::RowsWaiting(const Lane& lane) const {
  for (const auto& state : lanes_) {
    if (state->lane == &lane) return state->rows;
  }
  return 0;
}

bool Scheduler::AnyIdle() const {
  return std::any_of(executors_.begin(), executors_.end(),
                     [](const Executor& executor) { return !executor.busy; });
}

// Until an executor is free. One that is late already will, as a rule, be late by as much again.
Duration Scheduler::BusyTime(Instant now) const {
  Duration least = Duration::max();
  for (const Executor& executor : executors_) {
    if (!executor.busy) return Duration(0);
    least = std::min(least, std::max(executor.until - now, now - executor.until));
  }
  return least;
}

// Until a request that comes now would be answered. Others take turns with its own model and shape,
// run by run.
Duration Scheduler::TimeAhead(const LaneState& lane, const ShapeClass& shape,
                              const Request& request, Instant now) const {
  const auto own = lane.classes.find(shape);
  const int before = own == lane.classes.end()
                         ? 0
                         : own->second.queue.RowsBefore(request.priority, request.client);
  const int most = lane.lane->rows_max();
  const int turns = before / most + 1;
  Duration others{0};
  for (const auto& other : lanes_) {
    for (const auto& [other_shape, state] : other->classes) {
      if (other.get() == &lane && other_shape == shape) continue;
      const CostTable& costs = other->lane->costs;
      const int64_t rows =
          std::min<int64_t>(state.queue.rows(), int64_t{turns} * other->lane->rows_max());
      others += costs.Careful(other_shape, static_cast<int>(rows));
    }
  }
  const Duration queued = lane.lane->costs.Careful(shape, before + 1) + others;
  return BusyTime(now) + queued / static_cast<int64_t>(executors_.size());
}

// A measurement that has become wrong would refuse every request of a model, and so never be taken
// again: now and then one is let through.
bool Scheduler::Tries(LaneState& lane) {
  if (lane.rows > 0 || lane.running > 0) return false;
  return ++lane.lane->refused_untried % kTryEvery == 0;
}

// The row that goes is the newest of the lowest priority below the newcomer's, else of the client
// that has most waiting, if that is more than the newcomer's client would have.
bool Scheduler::MakeRoom(LaneState& lane, const Request& newcomer, Dropped& dropped) {
  std::unique_ptr<Request> victim;
  const auto take = [&](Priority at_most, uint64_t client) {
    for (auto at = lane.classes.begin(); victim == nullptr && at != lane.classes.end(); ++at) {
      victim = at->second.queue.TakeNewest(at_most, client);
    }
  };
  std::vector<std::pair<int, uint64_t>> greediest;
  for (const auto& [client, rows] : lane.rows_of) greediest.emplace_back(rows, client);
  std::sort(greediest.rbegin(), greediest.rend());
  for (int level = kPriorities - 1; level > static_cast<int>(newcomer.priority); --level) {
    for (const auto& client : greediest) {
      if (victim == nullptr) take(static_cast<Priority>(level), client.second);
    }
  }
  const auto own = lane.rows_of.find(newcomer.client);
  const int would_have = own == lane.rows_of.end() ? 1 : own->second + 1;
  if (victim == nullptr && greediest.front().first > would_have) {
    take(newcomer.priority, greediest.front().second);
  }
  if (victim == nullptr) return false;
  Left(lane, *victim);
  const Duration retry = lane.lane->costs.Typical({}, lane.rows);
  dropped.push_back(
      {std::move(victim), Overloaded(Refusal::kDisplaced,
                                     "the queue is full, and another client or a request of higher "
                                     "priority had less waiting",
                                     retry)});
  return true;
}

absl::Status Scheduler::Push(std::unique_ptr<Request>&& request, Instant now, Dropped& dropped) {
  if (request->deadline <= now) {
    return Refused(
        Refusal::kDeadline,
        absl::DeadlineExceededError("the deadline had passed before the request could queue"));
  }
  LaneState& lane = StateOf(*request->lane);
  const ShapeClass shape = ShapeClassOf(lane.lane->model.signature(), request->inputs);
  const int most = lane.lane->options.rows_waiting_max;
  if (lane.rows >= most) SweepLane(lane, now, dropped);
  // An executor that is idle takes what comes, whatever its run took before.
  const bool waits = rows_ > 0 || !AnyIdle();
  if (waits && request->deadline != kNever) {
    const Duration ahead = TimeAhead(lane, shape, *request, now);
    const Duration left = request->deadline - now;
    if (ahead > left && !Tries(lane)) {
      const Duration retry = ahead - left;
      absl::Status refused = Overloaded(
          Refusal::kTooLate,
          absl::StrCat("too much waits: the answer would take about ", Milliseconds(ahead),
                       " ms, the deadline is in ", Milliseconds(left), " ms"),
          retry);
      EraseIfDone(lane);
      return refused;
    }
  }
  if (lane.rows >= most && !MakeRoom(lane, *request, dropped)) {
    const Duration half = lane.lane->costs.Typical(shape, (lane.rows + 1) / 2);
    return Overloaded(Refusal::kQueueFull,
                      absl::StrCat("the queue is full: ", lane.rows,
                                   " rows waiting for this model, at most ", most),
                      half);
  }
  request->admitted = now;
  ++rows_;
  ++lane.rows;
  ++lane.rows_of[request->client];
  next_sweep_ = std::min({next_sweep_, request->deadline, now + kSweepEvery});
  lane.classes.try_emplace(shape, lane.lane->options.ageing)
      .first->second.queue.Push(std::move(request));
  return absl::OkStatus();
}

void Scheduler::Left(LaneState& lane, const Request& request) {
  --rows_;
  --lane.rows;
  const auto client = lane.rows_of.find(request.client);
  if (--client->second == 0) lane.rows_of.erase(client);
}

void Scheduler::SweepClass(LaneState& lane, ClassState& state, Instant now, Dropped& dropped) {
  for (auto& request : state.queue.Remove([now](const Request& row) { return IsGone(row, now); })) {
    Left(lane, *request);
    absl::Status why = WhyGone(*request, now);
    dropped.push_back({std::move(request), std::move(why)});
  }
}

void Scheduler::SweepLane(LaneState& lane, Instant now, Dropped& dropped) {
  for (auto at = lane.classes.begin(); at != lane.classes.end();) {
    SweepClass(lane, at->second, now, dropped);
    at = at->second.queue.rows() == 0 ? lane.classes.erase(at) : std::next(at);
  }
}

void Scheduler::Sweep(Instant now, Dropped& dropped) {
  next_sweep_ = rows_ == 0 ? kNever : now + kSweepEvery;
  for (size_t i = lanes_.size(); i-- > 0;) {
    LaneState& lane = *lanes_[i];
    SweepLane(lane, now, dropped);
    for (const auto& entry : lane.classes) {
      entry.second.queue.ForEach([this](const Request& request) {
        next_sweep_ = std::min(next_sweep_, request.deadline);
      });
    }
    EraseIfDone(lane);
  }
}

Scheduler::Candidate Scheduler::Consider(LaneState& lane, const ShapeClass& shape,
                                         ClassState& state, Instant now) {
  const LaneOptions& options = lane.lane->options;
  const int rows = state.queue.rows();
  Instant deadline = kNever;
  Instant admitted = kNever;
  Instant turn = kNever;
  Instant lane_turn = kNever;
  state.queue.ForEach([&](const Request& request) {
    deadline = std::min(deadline, request.deadline);
    admitted = std::min(admitted, request.admitted);
    const Duration rank = static_cast<int>(request.priority) * options.ageing;
    turn = std::min(turn, std::max(request.admitted, state.served) + rank);
    lane_turn = std::min(lane_turn, std::max(request.admitted, lane.served) + rank);
  });
  // One run: were it all that waits, the longest queue would always go first.
  const CostTable& costs = lane.lane->costs;
  const Duration takes = costs.Typical(shape, std::min(rows, costs.Choose(shape, rows)));
  Candidate candidate{&lane, &shape, &state};
  candidate.slack_end = std::min(deadline, turn + kPatience) - takes;
  candidate.lane_slack_end = std::min(deadline, lane_turn + kPatience) - takes;
  if (options.delay_max > Duration(0) && costs.CompanyPays(shape, rows)) {
    const Duration careful = std::max(costs.Careful(shape, rows), costs.Careful(shape, rows + 1));
    const Instant end = std::min(admitted + options.delay_max, deadline - careful - kWakeLate);
    candidate.held = end > admitted;
    if (end > now) {
      hold_end_ = std::min(hold_end_, end);
      candidate.state = nullptr;
    }
  }
  return candidate;
}

Scheduler::Candidate Scheduler::MostUrgent(Instant now, Dropped& dropped) {
  Candidate chosen;
  Instant least = kNever;
  for (size_t i = lanes_.size(); i-- > 0;) {
    LaneState& lane = *lanes_[i];
    SweepLane(lane, now, dropped);
    if (lane.rows == 0) {  // Its Lane may be gone with the last row that ran.
      EraseIfDone(lane);
      continue;
    }
    const int executors_max = lane.lane->options.executors_max;
    if (executors_max > 0 && lane.running >= executors_max) continue;
    Candidate own;
    Instant lane_least = kNever;
    for (auto& [shape, state] : lane.classes) {
      const Candidate candidate = Consider(lane, shape, state, now);
      if (candidate.state == nullptr) continue;
      lane_least = std::min(lane_least, candidate.lane_slack_end);
      if (own.state == nullptr || candidate.slack_end < own.slack_end) own = candidate;
    }
    // Of equals the one that came first: lanes_ are walked from the newest.
    if (own.state != nullptr && (chosen.state == nullptr || lane_least <= least)) {
      chosen = own;
      least = lane_least;
    }
  }
  return chosen;
}

// What CostTable chooses, or fewer where that lets a row make its deadline. Not where a whole batch
// waits: then the many come before the few.
int Scheduler::BucketFor(const Candidate& chosen, Instant now) {
  const CostTable& costs = chosen.lane->lane->costs;
  const auto end_of = [&](int rows) { return now + costs.Typical(*chosen.shape, rows); };
  const int rows = chosen.state->queue.rows();
  const int bucket = costs.Choose(*chosen.shape, rows);
  if (rows >= chosen.lane->lane->rows_max()) return bucket;
  Instant earliest = kNever;
  chosen.state->queue.ForEach([&, alone = end_of(1)](const Request& row) {
    if (row.deadline >= alone) earliest = std::min(earliest, row.deadline);
  });
  int fewer = std::min(bucket, rows);
  if (end_of(fewer) <= earliest) return bucket;
  while (fewer > 1 && end_of(fewer) > earliest) --fewer;
  return std::min(bucket, costs.Choose(*chosen.shape, fewer));
}

// Rows that a run begun now would answer too late, unless they are all there is: a measurement that
// has become wrong must not keep an executor from ever measuring again.
int Scheduler::DropHopeless(const Candidate& chosen, Instant now, Dropped& dropped) {
  const CostTable& costs = chosen.lane->lane->costs;
  RowQueue& queue = chosen.state->queue;
  const int bucket = BucketFor(chosen, now);
  const Instant end = now + costs.Typical(*chosen.shape, std::min(bucket, queue.rows()));
  int hopeless = 0;
  queue.ForEach([&](const Request& row) { hopeless += row.deadline < end ? 1 : 0; });
  if (hopeless == 0 || hopeless == queue.rows()) return bucket;
  for (auto& request : queue.Remove([end](const Request& row) { return row.deadline < end; })) {
    Left(*chosen.lane, *request);
    dropped.push_back(
        {std::move(request),
         Refused(Refusal::kDeadline,
                 absl::DeadlineExceededError("the deadline would pass before the run ends"))});
  }
  return BucketFor(chosen, now);
}

Batch Scheduler::Next(int executor, Instant now, Dropped& dropped) {
  Executor& self = executors_[static_cast<size_t>(executor)];
  const bool was_idle = std::exchange(self.was_idle, true);
  hold_end_ = kNever;
  Batch batch;
  if (rows_ == 0) return batch;
  const Candidate chosen = MostUrgent(now, dropped);
  if (chosen.state == nullptr) return batch;
  batch.lane = chosen.lane->lane;
  batch.shape = *chosen.shape;
  batch.bucket = DropHopeless(chosen, now, dropped);
  while (chosen.state->queue.rows() > 0 && static_cast<int>(batch.rows.size()) < batch.bucket) {
    batch.rows.push_back(chosen.state->queue.Pop());
    Left(*chosen.lane, *batch.rows.back());
  }
  const auto rows = static_cast<int>(batch.rows.size());
  batch.reason = rows == batch.lane->rows_max() && rows > 1 ? Dispatch::kFull
                 : chosen.held && was_idle                  ? Dispatch::kDelay
                 : was_idle                                 ? Dispatch::kIdle
                                                            : Dispatch::kNext;
  chosen.lane->served = chosen.state->served = now;
  if (chosen.state->queue.rows() == 0) chosen.lane->classes.erase(batch.shape);
  ++chosen.lane->running;
  self = {true, false, now + batch.lane->costs.Careful(batch.shape, rows), chosen.lane};
  return batch;
}

void Scheduler::SetBusy(int executor, Instant now) {
  executors_[static_cast<size_t>(executor)] = {true, false, now, nullptr};
}

void Scheduler::Finished(int executor) {
  Executor& self = executors_[static_cast<size_t>(executor)];
  self.busy = false;
  LaneState* const lane = std::exchange(self.lane, nullptr);
  if (lane == nullptr) return;
  --lane->running;
  EraseIfDone(*lane);
}

}  // namespace torchd
