// The rules that script_world.h holds the scheduler to.
#include <algorithm>

#include "server/batching/refusal.h"
#include "tests/unit/batching/script_world.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAnsweredLate{10};  // After a deadline, at most.

bool Contains(const std::vector<int>& buckets, int bucket) {
  return std::find(buckets.begin(), buckets.end(), bucket) != buckets.end();
}

}  // namespace

void ScriptWorld::CheckRefusal(const Row& row, const absl::Status& why) {
  const std::optional<Refusal> reason = RefusalIn(why);
  if (!reason) return Fail("refused without a reason");
  if (why.code() == absl::StatusCode::kResourceExhausted) {
    if (!RetryAfter(why) || *RetryAfter(why) <= Duration(0)) Fail("refused without a retry time");
  } else if (why.code() != absl::StatusCode::kDeadlineExceeded) {
    Fail("refused with an odd code");
  }
  const int lane = row.script->lane;
  switch (*reason) {
    case Refusal::kQueueFull:
      if (Waiting(lane) < lanes_[static_cast<size_t>(lane)].options.rows_waiting_max) {
        Fail("refused as full, and is not");
      }
      return;
    case Refusal::kDeadline:
      if (row.deadline <= now_) return;
      [[fallthrough]];
    case Refusal::kTooLate:
      if (row.deadline == kNever) Fail("refused as too late without a deadline");
      if (MeasuredAll() && CouldBeInTime(row)) Fail("refused as too late, and would not be");
      return;
    default:
      return Fail("refused with an odd reason");
  }
}

bool ScriptWorld::MeasuredAll() const {
  return std::all_of(script_.lanes.begin(), script_.lanes.end(),
                     [](const ScriptLane& lane) { return lane.measured_percent == 100; });
}

// Even if all that waits went first, one by one, and each run were the longest of its kind; with
// what a scheduler may add that knows only the mean of two runs, and the time it has to spare.
bool ScriptWorld::CouldBeInTime(const Row& row) const {
  const auto longest = [&](const Row& of) {
    const ScriptRow& script = *of.script;
    const auto& took = script_.lanes[static_cast<size_t>(script.lane)].took;
    const auto& times = took[static_cast<size_t>(script.size) - 1];
    return Duration(*std::max_element(times.begin(), times.end()));
  };
  const int limit = lanes_[static_cast<size_t>(row.script->lane)].options.executors_max;
  Duration busy{0};
  for (const Executor& executor : executors_) {
    if (!executor.busy) continue;
    if (executor.lane < 0) return false;  // Nobody knows how long.
    busy = std::max(busy, executor.until - now_);
  }
  Duration queued{0};
  for (const Row* other : waiting_) queued += longest(*other);
  const int64_t executors = limit > 0 ? limit : script_.executors;
  // The shares of a run that none of the executors takes alone.
  const Duration bound = (busy + queued / executors) * 5 / 4 + 2 * longest(row);
  const Duration left = row.deadline - now_;
  return bound + std::max<Duration>(milliseconds(2), left / 10) < left;
}

// A newcomer takes a place of a lower priority, or of a client that has more waiting.
void ScriptWorld::CheckDisplaced(const Row& row, const Row& newcomer) {
  const int lane = row.script->lane;
  if (lane != newcomer.script->lane) Fail("displaced by another model's row");
  if (Waiting(lane) < lanes_[static_cast<size_t>(lane)].options.rows_waiting_max) {
    Fail("displaced though there was room");
  }
  const int below =
      static_cast<int>(row.script->priority) - static_cast<int>(newcomer.script->priority);
  if (below < 0) Fail("displaced by a lower priority");
  if (below > 0 && row.admitted + below * Ageing(row) < now_) {
    Fail("displaced though it would have gone first");
  }
  if (row.script->priority == newcomer.script->priority &&
      Waiting(lane, row.script->client) <= Waiting(lane, newcomer.script->client)) {
    Fail("displaced by a client that is no more polite");
  }
  for (const Row* other : waiting_) {
    if (other->pushed > row.pushed && Alike(*other, row) &&
        other->script->client == row.script->client &&
        other->script->priority == row.script->priority) {
      Fail("displaced though it was not its client's newest");
    }
  }
}

// An idle executor that waits for company must not make a row late that it could have run. Unless
// so much company comes that a batch is full: then the many go before the few.
void ScriptWorld::CheckHeld(const Row& row) {
  const auto lane = static_cast<size_t>(row.script->lane);
  const ptrdiff_t alike = std::count_if(waiting_.begin(), waiting_.end(),
                                        [&](const Row* other) { return Alike(*other, row); });
  if (row.held && script_.lanes[lane].measured_percent == 100 && alike < lanes_[lane].rows_max()) {
    Fail("a wait for company missed a deadline");
  }
}

void ScriptWorld::CheckDropped(During during, const Row* newcomer) {
  for (const DroppedRequest& gone : dropped_) {
    Row& row = RowOf(*gone.request);
    const std::optional<Refusal> reason = RefusalIn(gone.why);
    switch (gone.why.code()) {
      case absl::StatusCode::kCancelled:
        if (!row.cancelled) Fail("dropped as cancelled, and is not");
        break;
      case absl::StatusCode::kDeadlineExceeded:
        if (!reason) Fail("too late without a reason");
        if (row.deadline == kNever) Fail("too late without a deadline");
        if (row.deadline > now_ && during != During::kNext) Fail("dropped before its deadline");
        if (now_ - kAnsweredLate > row.deadline) Fail("told too late that it was too late");
        CheckHeld(row);
        break;
      case absl::StatusCode::kResourceExhausted:
        if (during != During::kPush || reason != Refusal::kDisplaced) {
          Fail("an odd reason to drop a row");
        } else {
          CheckDisplaced(row, *newcomer);
        }
        if (!RetryAfter(gone.why)) Fail("displaced without a retry time");
        break;
      default:
        Fail("dropped with an odd code");
    }
    Leaves(row, Fate::kDropped);
  }
  dropped_.clear();
}

void ScriptWorld::CheckBatch(const Batch& batch) {
  if (batch.lane == nullptr) return Fail("a batch of no model");
  const LaneOptions& options = batch.lane->options;
  const int rows = static_cast<int>(batch.rows.size());
  if (!Contains(options.buckets, batch.bucket)) return Fail("a batch of an odd size");
  if (rows > batch.bucket) Fail("more rows than the bucket has");
  if (batch.reason == Dispatch::kFull && rows < options.buckets.back()) Fail("said to be full");
  if (batch.reason == Dispatch::kDelay &&
      std::max(options.delay_max, options.regroup_max) <= Duration(0)) {
    Fail("odd delay");
  }
  if (batch.shape.size() != 1) return Fail("a batch of an odd shape");
  for (const auto& request : batch.rows) {
    if (request->lane != batch.lane) Fail("models share a batch");
    if (request->inputs[0].shape[0] != batch.shape[0]) Fail("shapes share a batch");
  }
}

void ScriptWorld::CheckRun(Row& row, const Batch& batch) {
  if (row.cancelled) Fail("a cancelled row runs");
  if (row.deadline <= now_) Fail("an expired row runs");
  CheckTurn(row);
  CheckInTime(row, batch);
  Leaves(row, Fate::kRan);
  for (const Row* other : waiting_) {
    if (other->pushed < row.pushed && Alike(*other, row) &&
        other->script->client == row.script->client &&
        other->script->priority == row.script->priority) {
      Fail("overtook an earlier row of its class");
    }
  }
  if (!script_.plain) return;
  // Behind at most one run that has begun, and rows that one run could take all.
  const auto& took = script_.lanes[0].took[static_cast<size_t>(batch.shape[0]) - 1];
  if (now_ - row.admitted > 2 * *std::max_element(took.begin(), took.end())) {
    Fail(absl::StrCat("waited ", Microseconds(now_ - row.admitted), " us: over two runs"));
  }
}

// Where all is measured, rows run only if that ends in time; but for one that is tried now and
// then, and a bucket whose measurement is old.
void ScriptWorld::CheckInTime(const Row& row, const Batch& batch) {
  if (!MeasuredAll() || row.deadline == kNever) return;
  const ScriptLane& lane = script_.lanes[static_cast<size_t>(row.script->lane)];
  const auto& buckets = lane.options.buckets;
  const auto place = std::find(buckets.begin(), buckets.end(), batch.bucket) - buckets.begin();
  const Duration took =
      lane.took[static_cast<size_t>(row.script->size) - 1][static_cast<size_t>(place)];
  ++fates_.with_deadline;
  if (now_ + took > row.deadline) ++(batch.rows.size() == 1 ? fates_.tried : fates_.late);
}

// Priorities, ageing and turns among the rows of one model and shape. From these two rules follows
// that none starves: `row` goes before one of a lower priority only while its own priority has a
// row that came less than `ageing` per priority later, and each of those is served within as many
// turns as there are clients.
void ScriptWorld::CheckTurn(const Row& row) {
  const auto rank = [&](const Row& of) {
    return of.admitted + static_cast<int>(of.script->priority) * Ageing(of);
  };
  Instant level = rank(row), others = kNever;
  for (const Row* other : waiting_) {
    if (!Alike(*other, row)) continue;
    Instant& oldest = other->script->priority == row.script->priority ? level : others;
    oldest = std::min(oldest, rank(*other));
  }
  if (others < level) Fail("ran before one of higher rank by priority and age");

  const int64_t last = LastTurn(row);
  for (const Row* other : waiting_) {
    if (!Alike(*other, row) || other->script->priority != row.script->priority ||
        other->script->client == row.script->client) {
      continue;
    }
    if (other->pushed < last && LastTurn(*other) < last) {
      Fail("a client had two turns, and one that waited had none");
    }
  }
  LastTurn(row) = ++count_;
}

void ScriptWorld::CheckCounts() {
  int all = 0;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const int waiting = Waiting(static_cast<int>(i));
    if (scheduler_.RowsWaiting(lanes_[i]) != waiting) Fail("miscounts a model's rows");
    if (waiting > lanes_[i].options.rows_waiting_max) Fail("more rows wait than may");
    all += waiting;
  }
  if (scheduler_.rows_waiting() != all) Fail("miscounts the rows");
  for (const Row* row : waiting_) {
    if (row->deadline < now_ - kAnsweredLate) Fail("an expired row still waits");
  }
}

// No executor idles beside a row that may run, unless company is waited for.
void ScriptWorld::CheckNobodyIdles() {
  const bool idle = std::any_of(executors_.begin(), executors_.end(),
                                [](const Executor& executor) { return !executor.busy; });
  for (Row* row : waiting_) row->held = false;
  if (!idle) return;
  std::array<bool, kScriptLanes * kScriptSizes> seen{};
  for (Row* row : waiting_) {
    if (!Alive(*row)) continue;
    const auto lane_index = static_cast<size_t>(row->script->lane);
    const LaneOptions& options = lanes_[lane_index].options;
    if (options.executors_max > 0 && running_[lane_index] >= options.executors_max) continue;
    if (std::max(options.delay_max, options.regroup_max) <= Duration(0))
      return Fail("an executor idles beside a row");
    row->held = true;
    ++fates_.held;
    bool& oldest_seen =
        seen[lane_index * kScriptSizes + static_cast<size_t>(row->script->size) - 1];
    if (oldest_seen) continue;
    oldest_seen = true;
    const ptrdiff_t alike = std::count_if(waiting_.begin(), waiting_.end(),
                                          [&](const Row* other) { return Alike(*other, *row); });
    if (alike >= options.buckets.back()) Fail("a full batch waits for company");
    if (Waiting(row->script->lane) >= options.rows_waiting_max) {
      Fail("a full queue waits for company");
    }
    const Instant limit =
        std::max(row->admitted + options.delay_max, last_ends_[lane_index] + options.regroup_max);
    if (limit + script_.wakes_late <= now_) Fail("waits for company too long");
    if (scheduler_.NextHoldEnd() > limit) Fail("would wait too long");
  }
}

void ScriptWorld::CheckEnd() {
  for (const Row& row : rows_) {
    if (row.fate == Fate::kToCome || row.fate == Fate::kWaiting) Fail("a row was never answered");
  }
  if (scheduler_.rows_waiting() != 0) Fail("rows are left");
  if (scheduler_.NextSweepTime() != kNever) Fail("a sweep of nothing");
  const auto all = static_cast<int64_t>(rows_.size());
  if (fates_.ran + fates_.refused + fates_.dropped != all) Fail("in is not out");
}

}  // namespace torchd
