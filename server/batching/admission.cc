// Who is admitted, who is refused, and who makes room: Scheduler::Push().
#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/batching/refusal.h"
#include "server/batching/scheduler.h"

namespace torchd {

// Until each executor is free that the lane may use: those that run it, else the next to end.
std::vector<Duration> Scheduler::FreeIn(const LaneState& lane, Instant now) const {
  std::vector<Duration> free_in;
  std::vector<Duration> others;
  for (const Executor& executor : executors_) {
    // One that is late already will, as a rule, be late by as much again.
    const Duration left =
        executor.busy ? std::max(executor.until - now, now - executor.until) : Duration(0);
    (executor.lane == &lane ? free_in : others).push_back(left);
  }
  std::sort(others.begin(), others.end());
  free_in.insert(free_in.end(), others.begin(), others.end());
  const auto most = static_cast<size_t>(lane.lane->options.executors_max);
  if (most > 0 && most < free_in.size()) free_in.resize(most);
  return free_in;
}

// What the other models and shapes run while this one has so many turns.
Duration Scheduler::TurnsOfOthers(const LaneState& lane, const ShapeClass& shape, int turns) const {
  Duration others{0};
  for (const auto& other : lanes_) {
    for (const auto& [other_shape, state] : other->classes) {
      if (other.get() == &lane && other_shape == shape) continue;
      const CostTable& costs = other->lane->costs;
      const int64_t a_turn =
          std::max(1, costs.FirstRun(other_shape, other->lane->rows_max()).bucket);
      const int64_t rows = std::min<int64_t>(state.queue.rows(), turns * a_turn);
      others += costs.Careful(other_shape, static_cast<int>(rows));
    }
  }
  return others;
}

// Until a request that comes now would be answered, with some time to spare.
Duration Scheduler::AnsweredIn(const LaneState& lane, const ShapeClass& shape,
                               const Request& request, Instant now) const {
  const CostTable& costs = lane.lane->costs;
  const std::vector<Duration> free_in = FreeIn(lane, now);
  const Duration least = *std::min_element(free_in.begin(), free_in.end());
  const Duration left = request.deadline - now;
  if (rows_ == 0 && least == Duration(0)) return costs.Careful(shape, 1) + SpareTime(left);

  const CostTable::Run full = costs.FirstRun(shape, lane.lane->rows_max());
  if (full.bucket == 0) return Duration(0);  // To be measured.
  const Duration a_run = full.careful + lane.answering;
  const auto own = lane.classes.find(shape);
  const bool alone = own == lane.classes.end();
  const int before = alone ? 0 : own->second.queue.RowsBefore(request.priority, request.client);
  const int runs = before / full.bucket;
  const auto executors = static_cast<int64_t>(free_in.size());
  // Of the others' runs those executors do their share.
  const Duration others =
      TurnsOfOthers(lane, shape, runs + 1) * executors / static_cast<int64_t>(executors_.size());
  const Duration busy = std::accumulate(free_in.begin(), free_in.end(), Duration(0));
  const Duration start = std::max(least, (busy + runs * a_run + others) / executors);
  const Duration own_run = alone ? costs.FirstRun(shape, 1).careful + lane.answering : a_run;
  return start + own_run + std::max<Duration>(kSpare, left / kSpareShare);
}

// A measurement that has become wrong would refuse every request of a model, and so never be taken
// again: now and then one is let through.
bool Scheduler::Tries(LaneState& lane) {
  if (lane.rows > 0 || lane.running > 0) return false;
  return lane.tries = ++lane.lane->untried % kTryEvery == 0;
}

// The row that goes is the newest of the lowest priority below the newcomer's that has not waited
// so long that it would go first, else of the client
// that has most waiting, if that is more than the newcomer's client would have.
bool Scheduler::MakeRoom(LaneState& lane, const Request& newcomer, Instant now, Dropped& dropped) {
  std::unique_ptr<Request> victim;
  const auto take = [&](Priority at_most, uint64_t client) {
    for (auto at = lane.classes.begin(); victim == nullptr && at != lane.classes.end(); ++at) {
      victim = at->second.queue.TakeNewest(at_most, client, {newcomer.priority, now});
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
  lane.returns->Refused();
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
  if (request->deadline != kNever) {
    const Duration ahead = AnsweredIn(lane, shape, *request, now);
    const Duration left = request->deadline - now;
    if (ahead > left && !Tries(lane)) {
      // To try again is of no use.
      const bool never = lane.lane->costs.Careful(shape, 1) + SpareTime(left) > left;
      lane.returns->Refused();
      EraseIfDone(lane);
      const std::string times =
          absl::StrCat(Milliseconds(ahead), " ms, the deadline is in ", Milliseconds(left), " ms");
      if (never) {
        return Refused(Refusal::kDeadline, absl::DeadlineExceededError(absl::StrCat(
                                               "the run would end too late: in about ", times)));
      }
      return Overloaded(Refusal::kTooLate,
                        absl::StrCat("too much waits: the answer would take about ", times),
                        ahead - left);
    }
  }
  if (lane.rows >= most && !MakeRoom(lane, *request, now, dropped)) {
    lane.returns->Refused();
    const Duration half = lane.lane->costs.Typical(shape, (lane.rows + 1) / 2);
    return Overloaded(Refusal::kQueueFull,
                      absl::StrCat("the queue is full: ", lane.rows,
                                   " rows waiting for this model, at most ", most),
                      half);
  }
  request->admitted = now;
  lane.returns->Came(shape, now);
  ++rows_;
  ++lane.rows;
  ++lane.rows_of[request->client];
  next_sweep_ = std::min({next_sweep_, request->deadline, now + kSweepEvery});
  lane.classes.try_emplace(shape, lane.lane->options.ageing)
      .first->second.queue.Push(std::move(request));
  return absl::OkStatus();
}

}  // namespace torchd
