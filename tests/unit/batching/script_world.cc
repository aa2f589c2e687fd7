#include "tests/unit/batching/script_world.h"

#include <algorithm>

#include "server/batching/refusal.h"
#include "tests/unit/batching/rows.h"

namespace torchd {
namespace {

Instant After(Instant start, microseconds later) {
  return later == microseconds::max() ? kNever : start + later;
}

}  // namespace

ScriptWorld::ScriptWorld(const Script& script, Model& model)
    : script_(script),
      rows_(script.rows.size()),
      executors_(static_cast<size_t>(script.executors)),
      running_(script.lanes.size()),
      scheduler_(script.executors) {
  for (const ScriptLane& lane : script.lanes) {
    lanes_.emplace_back(model, lane.options);
    if (lane.measured_percent == 0) continue;
    for (int64_t size = 1; size <= kScriptSizes; ++size) {
      RunTimesByBucket took;
      for (size_t i = 0; i < lane.options.buckets.size(); ++i) {
        took[lane.options.buckets[i]] =
            lane.took[static_cast<size_t>(size) - 1][i] * lane.measured_percent / 100;
      }
      Measure(lanes_.back().costs, {size}, took, 2);
    }
  }
  for (size_t i = 0; i < rows_.size(); ++i) {
    const ScriptRow& row = script.rows[i];
    rows_[i].script = &row;
    rows_[i].deadline =
        row.deadline_in == microseconds::max() ? kNever : start_ + row.at + row.deadline_in;
    rows_[i].cancels =
        row.cancelled_in == microseconds::max() ? kNever : start_ + row.at + row.cancelled_in;
  }
  if (script.first_busy.count() > 0) {
    scheduler_.SetBusy(0, now_);
    executors_[0].busy = true;
    executors_[0].until = After(start_, script.first_busy);
  }
}

void ScriptWorld::Fail(const std::string& what) {
  if (broken_.empty()) broken_ = absl::StrCat(what, ", at ", Microseconds(now_ - start_), " us");
}

std::string ScriptWorld::Run() {
  for (int events = 0; broken_.empty(); ++events) {
    const Instant next = NextEvent();
    if (next == kNever) break;
    if (events > 5000) {
      Fail("comes to no end");
      break;
    }
    now_ = std::max(now_, next);
    const Instant wakes = WakeTime();
    bool asks = EndRuns();
    Cancel();
    asks = Arrive() || asks;
    if (scheduler_.NextSweepTime() <= now_) Sweep();
    if (asks || wakes <= now_) Offer();
    CheckCounts();
    CheckNobodyIdles();
  }
  if (broken_.empty()) CheckEnd();
  return broken_;
}

Instant ScriptWorld::NextEvent() const {
  Instant next = arrived_ < rows_.size() ? start_ + rows_[arrived_].script->at : kNever;
  bool idle = false;
  for (const Executor& executor : executors_) {
    if (executor.busy) next = std::min(next, executor.until);
    idle = idle || !executor.busy;
  }
  for (const Row* row : waiting_) {
    if (!row->cancelled) next = std::min(next, row->cancels);
  }
  next = std::min(next, scheduler_.NextSweepTime());
  return idle ? std::min(next, WakeTime()) : next;
}

Instant ScriptWorld::WakeTime() const {
  const Instant hold_end = scheduler_.NextHoldEnd();
  return hold_end == kNever ? kNever : hold_end + script_.wakes_late;
}

bool ScriptWorld::EndRuns() {
  bool ended = false;
  for (size_t i = 0; i < executors_.size(); ++i) {
    Executor& executor = executors_[i];
    if (!executor.busy || executor.until > now_) continue;
    if (executor.lane >= 0) {
      const ScriptLane& of = script_.lanes[static_cast<size_t>(executor.lane)];
      lanes_[static_cast<size_t>(executor.lane)].costs.Add(
          {executor.size}, of.options.buckets[executor.bucket],
          of.took[static_cast<size_t>(executor.size) - 1][executor.bucket]);
      --running_[static_cast<size_t>(executor.lane)];
      last_ends_[static_cast<size_t>(executor.lane)] = now_;
      for (Row* row : waiting_) row->held = row->held && row->script->lane != executor.lane;
    }
    executor = {};
    scheduler_.Finished(static_cast<int>(i), now_);
    ended = true;
  }
  return ended;
}

void ScriptWorld::Cancel() {
  for (Row& row : rows_) {
    if (row.fate == Fate::kWaiting && row.cancels <= now_) row.cancelled = true;
  }
}

bool ScriptWorld::Arrive() {
  bool arrived = false;
  for (; arrived_ < rows_.size() && start_ + rows_[arrived_].script->at <= now_; ++arrived_) {
    Push(rows_[arrived_]);
    arrived = true;
  }
  return arrived;
}

void ScriptWorld::Push(Row& row) {
  const ScriptRow& of = *row.script;
  auto request = std::make_unique<Request>();
  request->lane = &lanes_[static_cast<size_t>(of.lane)];
  request->inputs = InputsOf(of.size, &row);
  request->deadline = row.deadline;
  request->priority = of.priority;
  request->client = static_cast<uint64_t>(of.client);
  request->cancelled = &row.cancelled;
  request->admitted = now_;
  const absl::Status pushed = scheduler_.Push(std::move(request), now_, dropped_);
  CheckDropped(During::kPush, &row);
  if (pushed.ok() != (request == nullptr)) Fail("a request is neither here nor there");
  if (!pushed.ok()) {
    CheckRefusal(row, pushed);
    row.fate = Fate::kRefused;
    ++fates_.refused;
    return;
  }
  if (row.deadline <= now_) Fail("an expired row was admitted");
  row.fate = Fate::kWaiting;
  row.admitted = now_;
  row.pushed = ++count_;
  waiting_.push_back(&row);
  CheckCounts();
}

void ScriptWorld::Sweep() {
  scheduler_.Sweep(now_, dropped_);
  CheckDropped(During::kSweep, nullptr);
  if (scheduler_.NextSweepTime() <= now_) Fail("a sweep is due right after a sweep");
}

void ScriptWorld::Offer() {
  for (bool again = true; again && broken_.empty();) {
    again = false;
    for (size_t i = 0; i < executors_.size(); ++i) {
      if (!executors_[i].busy && Start(static_cast<int>(i))) again = true;
    }
  }
  for (const Executor& executor : executors_) {
    if (!executor.busy && scheduler_.NextHoldEnd() <= now_) Fail("a wait ended and went on");
  }
}

bool ScriptWorld::Start(int self) {
  Batch batch = scheduler_.Next(self, now_, dropped_);
  CheckDropped(During::kNext, nullptr);
  if (batch.rows.empty()) return false;
  CheckBatch(batch);
  if (!broken_.empty()) return false;
  for (const auto& request : batch.rows) CheckRun(RowOf(*request), batch);
  for (Row* row : waiting_) row->held = row->held && Alike(*row, RowOf(*batch.rows[0]));
  Executor& executor = executors_[static_cast<size_t>(self)];
  executor.busy = true;
  executor.size = static_cast<int>(batch.shape[0]);
  for (size_t i = 0; i < lanes_.size(); ++i) {
    if (&lanes_[i] == batch.lane) executor.lane = static_cast<int>(i);
  }
  const ScriptLane& of = script_.lanes[static_cast<size_t>(executor.lane)];
  const auto& buckets = of.options.buckets;
  executor.bucket = static_cast<size_t>(std::find(buckets.begin(), buckets.end(), batch.bucket) -
                                        buckets.begin());
  executor.until = now_ + of.took[static_cast<size_t>(executor.size) - 1][executor.bucket];
  const int limit = of.options.executors_max;
  if (++running_[static_cast<size_t>(executor.lane)] > limit && limit > 0) {
    Fail("more executors than executors_max");
  }
  ++fates_.runs;
  return true;
}

void ScriptWorld::Leaves(Row& row, Fate fate) {
  if (row.fate != Fate::kWaiting) Fail("a row was handed out twice");
  row.fate = fate;
  std::erase(waiting_, &row);
  ++(fate == Fate::kRan ? fates_.ran : fates_.dropped);
}

int ScriptWorld::Waiting(int lane) const {
  return static_cast<int>(std::count_if(waiting_.begin(), waiting_.end(),
                                        [&](const Row* row) { return row->script->lane == lane; }));
}

int ScriptWorld::Waiting(int lane, int client) const {
  return static_cast<int>(std::count_if(waiting_.begin(), waiting_.end(), [&](const Row* row) {
    return row->script->lane == lane && row->script->client == client;
  }));
}

}  // namespace torchd
