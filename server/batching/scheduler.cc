#include "server/batching/scheduler.h"

#include <algorithm>
#include <utility>

#include "server/batching/refusal.h"

namespace torchd {
namespace {

// How long a row without a deadline may wait before it is as urgent as one whose deadline is now.
constexpr Duration kPatience = std::chrono::milliseconds(500);
// An executor that waits for company wakes this much later than it should, at most, as a rule.
constexpr Duration kWakeLate = std::chrono::milliseconds(1);
// To wait for less is not worth a sleep, which ends as much too late.
constexpr Duration kSavedLeast = std::chrono::microseconds(500);
constexpr int kAnsweringShare = 8;  // Of the latest run in the average.

}  // namespace

absl::Status WhyGone(const Request& request, Instant now) {
  // gRPC cancels what is past its deadline: that is still the deadline's doing.
  if (request.deadline <= now) {
    return Refused(Refusal::kDeadline,
                   absl::DeadlineExceededError("the deadline passed while the request queued"));
  }
  if (IsCancelled(request)) {
    return absl::CancelledError("the caller cancelled while the request queued");
  }
  return absl::OkStatus();
}

Scheduler::LaneState* Scheduler::Find(const Lane& lane) const {
  for (const auto& state : lanes_) {
    if (state->lane == &lane) return state.get();
  }
  return nullptr;
}

Scheduler::LaneState& Scheduler::StateOf(Lane& lane) {
  if (LaneState* const known = Find(lane)) return *known;
  lanes_.push_back(std::make_unique<LaneState>());
  lanes_.back()->lane = &lane;
  lanes_.back()->returns = lane.returns;
  return *lanes_.back();
}

void Scheduler::EraseIfDone(LaneState& lane) {
  if (lane.rows > 0 || lane.running > 0) return;
  lanes_.erase(std::find_if(lanes_.begin(), lanes_.end(),
                            [&](const auto& state) { return state.get() == &lane; }));
}

int Scheduler::RowsBefore(const Lane& lane, Priority priority, uint64_t client) const {
  const LaneState* const state = Find(lane);
  if (state == nullptr) return 0;
  int before = 0;
  for (const auto& entry : state->classes) {
    before += entry.second.queue.RowsBefore(priority, client);
  }
  return before;
}

int Scheduler::RowsWaiting(const Lane& lane) const {
  const LaneState* const state = Find(lane);
  return state == nullptr ? 0 : state->rows;
}

void Scheduler::Left(LaneState& lane, const Request& request) {
  --rows_;
  --lane.rows;
  const auto client = lane.rows_of.find(request.client);
  if (--client->second == 0) lane.rows_of.erase(client);
}

void Scheduler::SweepClass(LaneState& lane, ClassState& state, Instant now, Dropped& dropped) {
  for (auto& request : state.queue.Remove(
           [now](const Request& row) { return row.deadline <= now || IsCancelled(row); })) {
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

// Until when an idle executor leaves the rows of a shape waiting for company; in the past: it does
// not.
Instant Scheduler::HoldEnd(const Candidate& held, Instant admitted, Instant deadline, Instant now) {
  const LaneState& lane = *held.lane;
  const ShapeClass& shape = *held.shape;
  const ClassState& state = *held.state;
  const LaneOptions& options = lane.lane->options;
  const CostTable& costs = lane.lane->costs;
  const Returns& returns = *lane.returns;
  const int rows = state.queue.rows();
  const int room = options.rows_waiting_max - lane.rows;
  if (room <= 0) return Instant::min();
  Instant end = Instant::min();
  if (options.delay_max > Duration(0) && costs.CompanyPays(shape, rows)) {
    end = admitted + options.delay_max;
  }
  const int expected = std::min(returns.Expected(shape, now), lane.lane->rows_max());
  const int company = std::min(expected - rows, room);
  if (company > 0) {
    const Duration saved = costs.Typical(shape, rows) + costs.Typical(shape, company) -
                           costs.Typical(shape, rows + company);
    if (saved >= kSavedLeast) {
      const Instant since = std::min(state.held_since, now);
      const Instant patience = returns.last() + 2 * saved * company / (rows + company);
      end = std::max(end, std::min({returns.until(), since + saved, patience}));
    }
  }
  if (end <= now) return Instant::min();
  const Duration careful = std::max(costs.Careful(shape, rows), costs.Careful(shape, rows + 1));
  return std::min(end, deadline - careful - kWakeLate);
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
    deadline = std::min(deadline, LatestEnd(request));
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
  candidate.hold_end = HoldEnd(candidate, admitted, deadline, now);
  return candidate;
}

// Nothing where all that waits is held. Beside what runs now in any case, rows that wait for
// company go by their slack: they would wait for that run as well.
Scheduler::Candidate Scheduler::MostUrgent(Instant now, Dropped& dropped, bool may_hold) {
  bool hold = may_hold;
  Candidate chosen;
  Instant least = kNever;
  for (size_t i = lanes_.size(); i-- > 0;) {
    LaneState& lane = *lanes_[i];
    SweepLane(lane, now, dropped);
    DropHopeless(lane, now, dropped);
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
      if (candidate.hold_end > now) {
        hold_end_ = std::min(hold_end_, candidate.hold_end);
        state.held_since = std::min(state.held_since, now);
      } else {
        hold = false;
      }
      lane_least = std::min(lane_least, candidate.lane_slack_end);
      if (own.state == nullptr || candidate.slack_end < own.slack_end) own = candidate;
    }
    // Of equals the one that came first: lanes_ are walked from the newest.
    if (own.state != nullptr && (chosen.state == nullptr || lane_least <= least)) {
      chosen = own;
      least = lane_least;
    }
  }
  return hold ? Candidate() : chosen;
}

// What CostTable chooses, or fewer where that lets a row make its deadline. Not where a whole batch
// waits: then the many come before the few.
int Scheduler::BucketFor(const Candidate& chosen, Instant now) {
  const CostTable& costs = chosen.lane->lane->costs;
  const auto end_of = [&](int rows) { return now + costs.Careful(*chosen.shape, rows); };
  const int rows = chosen.state->queue.rows();
  const int bucket = costs.Choose(*chosen.shape, rows);
  if (rows >= chosen.lane->lane->rows_max()) return bucket;
  Instant earliest = kNever;
  chosen.state->queue.ForEach(
      [&](const Request& row) { earliest = std::min(earliest, LatestEnd(row)); });
  int fewer = std::min(bucket, rows);
  if (end_of(fewer) <= earliest) return bucket;
  while (fewer > 1 && end_of(fewer) > earliest) --fewer;
  return std::min(bucket, costs.Choose(*chosen.shape, fewer));
}

// Rows that a run begun now would answer too late: they must not take the turn of those that it
// would not. Were a measurement wrong, no row would ever run and mend it: now and then one does.
void Scheduler::DropHopeless(LaneState& lane, const ShapeClass& shape, RowQueue& queue, Instant now,
                             Dropped& dropped) {
  const CostTable& costs = lane.lane->costs;
  const int rows = queue.rows();
  Duration takes = costs.FirstRun(shape, rows).careful;
  if (rows < lane.lane->rows_max()) takes = std::min(takes, costs.FirstRun(shape, 1).careful);
  const Instant end = now + takes;
  int hopeless = 0;
  const Request* last = nullptr;
  queue.ForEach([&](const Request& row) {
    hopeless += LatestEnd(row) < end ? 1 : 0;
    if (last == nullptr || row.deadline > last->deadline) last = &row;
  });
  if (hopeless == 0) return;
  lane.returns->Refused();
  if (hopeless == rows && !lane.tries) lane.tries = ++lane.lane->untried % kTryEvery == 0;
  const Request* const kept = hopeless == rows && lane.tries ? last : nullptr;
  for (auto& request :
       queue.Remove([&](const Request& row) { return LatestEnd(row) < end && &row != kept; })) {
    Left(lane, *request);
    dropped.push_back(
        {std::move(request),
         Refused(Refusal::kDeadline,
                 absl::DeadlineExceededError("the deadline would pass before the run ends"))});
  }
}

void Scheduler::DropHopeless(LaneState& lane, Instant now, Dropped& dropped) {
  for (auto at = lane.classes.begin(); at != lane.classes.end();) {
    DropHopeless(lane, at->first, at->second.queue, now, dropped);
    at = at->second.queue.rows() == 0 ? lane.classes.erase(at) : std::next(at);
  }
}

Batch Scheduler::Next(int executor, Instant now, Dropped& dropped, bool may_hold) {
  Executor& self = executors_[static_cast<size_t>(executor)];
  const bool was_idle = std::exchange(self.was_idle, true);
  hold_end_ = kNever;
  Batch batch;
  if (rows_ == 0) return batch;
  const Candidate chosen = MostUrgent(now, dropped, may_hold);
  if (chosen.state == nullptr) return batch;
  batch.lane = chosen.lane->lane;
  batch.shape = *chosen.shape;
  batch.bucket = BucketFor(chosen, now);
  while (chosen.state->queue.rows() > 0 && static_cast<int>(batch.rows.size()) < batch.bucket) {
    batch.rows.push_back(chosen.state->queue.Pop());
    Left(*chosen.lane, *batch.rows.back());
  }
  const auto rows = static_cast<int>(batch.rows.size());
  batch.reason = rows == batch.lane->rows_max() && rows > 1 ? Dispatch::kFull
                 : chosen.state->held_since < now           ? Dispatch::kDelay
                 : was_idle                                 ? Dispatch::kIdle
                                                            : Dispatch::kNext;
  chosen.lane->served = chosen.state->served = now;
  chosen.state->held_since = kNever;
  chosen.lane->returns->Taken(batch.shape, rows);
  hold_end_ = kNever;  // Whoever asks next finds out anew.
  if (chosen.state->queue.rows() == 0) chosen.lane->classes.erase(batch.shape);
  chosen.lane->tries = false;
  ++chosen.lane->running;
  const Duration takes = batch.lane->costs.CarefulRun(batch.shape, batch.bucket);
  self = {true, false, now + takes, chosen.lane, batch.shape, rows, now};
  return batch;
}

void Scheduler::SetBusy(int executor, Instant now, Duration busy) {
  executors_[static_cast<size_t>(executor)] = {true, false, now + busy, nullptr, {}, 0, now};
}

void Scheduler::Finished(int executor, Instant now, Duration answering) {
  Executor& self = executors_[static_cast<size_t>(executor)];
  self.busy = false;
  LaneState* const lane = std::exchange(self.lane, nullptr);
  if (lane == nullptr) return;
  lane->answering += (answering - lane->answering) / kAnsweringShare;
  const Instant ended = now - answering;
  int waiting = 0;
  int back = 0;
  if (const auto alike = lane->classes.find(self.shape); alike != lane->classes.end()) {
    alike->second.queue.ForEach(
        [&](const Request& request) { ++(request.admitted <= ended ? waiting : back); });
  }
  lane->returns->Ended({self.shape, self.rows, ended - self.began, ended, waiting, back,
                        static_cast<int>(executors_.size())});
  --lane->running;
  EraseIfDone(*lane);
}

}  // namespace torchd
