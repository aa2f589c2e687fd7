// Which waiting rows an idle executor runs next, and which requests never run.
//
// Pure: what has happened and what time it is go in, decisions come out, so a test replays any
// arrivals without a thread or a sleep. Executors adds the threads.
//
// Work-conserving: an executor stays idle only when nothing waits that it may run, or for a moment
// where company is to be expected and was measured to pay. Who runs next:
//  - among models and shapes, the one with the least slack: its earliest deadline, or how long its
//    oldest row waits since it or its model last had a turn, less what its run takes;
//  - among the rows of one model and shape, RowQueue's order;
//  - how many together, CostTable's choice.
// Refused at once: what finds the queue full, and what would miss its deadline behind those before
// it. Dropped: what would miss it were its run to begin now. A full queue makes room for a client
// with less waiting than another, or for a higher priority.
//
// Thread-safety: none; Executors calls it under its mutex. Ownership: holds each request from
// Push() until Next() or a Dropped hands it on. Borrows lanes, for as long as their rows are here.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/batching/lane.h"
#include "server/batching/request.h"
#include "server/batching/row_queue.h"
#include "server/metrics/server_metrics.h"

namespace torchd {

// Must be answered with `why`, and not run.
struct DroppedRequest {
  std::unique_ptr<Request> request;
  absl::Status why;
};
using Dropped = std::vector<DroppedRequest>;

// OK: it may still run.
absl::Status WhyGone(const Request& request, Instant now);

// One run.
struct Batch {
  Lane* lane = nullptr;
  ShapeClass shape;
  std::vector<std::unique_ptr<Request>> rows;  // Empty: nothing to run.
  int bucket = 0;                              // Rows to run, padding included.
  Dispatch reason = Dispatch::kIdle;
};

class Scheduler {
 public:
  explicit Scheduler(int executors) : executors_(static_cast<size_t>(executors)) {}

  // RESOURCE_EXHAUSTED or DEADLINE_EXCEEDED: refused, and `request` stays its owner's. `dropped`:
  // those that had to make room.
  absl::Status Push(std::unique_ptr<Request>&& request, Instant now, Dropped& dropped);

  // What `executor` runs now. Nothing: it is idle, and asks again after a Push(), a Finished() or
  // at NextHoldEnd(). `may_hold`: it may leave rows waiting for company.
  Batch Next(int executor, Instant now, Dropped& dropped, bool may_hold = true);

  // `executor` has ended what Next() gave it, and answered it, which took `answering`.
  void Finished(int executor, Instant now, Duration answering = Duration(0));

  // `executor` does something else, for about `busy`, until Finished(). 0: nobody knows.
  void SetBusy(int executor, Instant now, Duration busy = Duration(0));

  // Takes out what has expired or was cancelled meanwhile. Call by NextSweepTime().
  void Sweep(Instant now, Dropped& dropped);
  Instant NextSweepTime() const { return rows_ == 0 ? kNever : next_sweep_; }

  // When rows that an idle executor left waiting for company run at the latest; kNever: none do.
  Instant NextHoldEnd() const { return hold_end_; }

  int rows_waiting() const { return rows_; }
  int RowsWaiting(const Lane& lane) const;
  // Of all its shapes, what would run before a row that comes now.
  int RowsBefore(const Lane& lane, Priority priority, uint64_t client) const;

 private:
  struct ClassState {
    explicit ClassState(Duration ageing) : queue(ageing) {}
    RowQueue queue;
    Instant served = Instant::min();  // When it last had a turn.
    Instant held_since = kNever;      // For company.
  };
  struct LaneState {
    Lane* lane = nullptr;
    std::shared_ptr<Returns> returns;
    int rows = 0;
    int running = 0;                  // Executors.
    Instant served = Instant::min();  // When any of its classes last had a turn.
    Duration answering{0};            // Of a run's rows, on average.
    bool tries = false;               // Runs a row though it seems hopeless.
    std::map<ShapeClass, ClassState> classes;
    std::unordered_map<uint64_t, int> rows_of;  // By client; none is 0.
  };
  struct Executor {
    bool busy = false;
    bool was_idle = true;  // Before the last Next().
    Instant until;         // Roughly when its run ends.
    LaneState* lane = nullptr;
    ShapeClass shape;
    int rows = 0;
    Instant began;
  };
  struct Candidate {
    LaneState* lane = nullptr;
    const ShapeClass* shape = nullptr;
    ClassState* state = nullptr;
    Instant slack_end = kNever;       // Among the classes of its lane.
    Instant lane_slack_end = kNever;  // Among lanes.
    Instant hold_end = Instant::min();
  };

  // Cancelled rows are found this soon; a deadline is met to the moment.
  static constexpr Duration kSweepEvery = std::chrono::milliseconds(20);
  static constexpr int kTryEvery = 16;  // Times that all seems too late.

  LaneState* Find(const Lane& lane) const;  // Null: nothing of it waits or runs.
  LaneState& StateOf(Lane& lane);
  void EraseIfDone(LaneState& lane);
  std::vector<Duration> FreeIn(const LaneState& lane, Instant now) const;
  Duration TurnsOfOthers(const LaneState& lane, const ShapeClass& shape, int turns) const;
  Duration AnsweredIn(const LaneState& lane, const ShapeClass& shape, const Request& request,
                      Instant now) const;
  static bool Tries(LaneState& lane);
  bool MakeRoom(LaneState& lane, const Request& newcomer, Instant now, Dropped& dropped);
  void SweepClass(LaneState& lane, ClassState& state, Instant now, Dropped& dropped);
  void SweepLane(LaneState& lane, Instant now, Dropped& dropped);
  static Instant HoldEnd(const Candidate& held, Instant admitted, Instant deadline, Instant now);
  static Candidate Consider(LaneState& lane, const ShapeClass& shape, ClassState& state,
                            Instant now);
  Candidate MostUrgent(Instant now, Dropped& dropped, bool may_hold);
  static int BucketFor(const Candidate& chosen, Instant now);
  void DropHopeless(LaneState& lane, Instant now, Dropped& dropped);
  void DropHopeless(LaneState& lane, const ShapeClass& shape, RowQueue& queue, Instant now,
                    Dropped& dropped);
  void Left(LaneState& lane, const Request& request);

  std::vector<Executor> executors_;
  std::vector<std::unique_ptr<LaneState>> lanes_;
  int rows_ = 0;
  Instant next_sweep_ = kNever;
  Instant hold_end_ = kNever;
};

}  // namespace torchd
