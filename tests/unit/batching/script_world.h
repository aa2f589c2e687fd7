// Replays a script through the scheduler, event by event, and holds it to its rules.
//
// Events: a row arrives or is cancelled, a run ends, a sweep is due, a wait for company ends. After
// each that the header names, idle executors ask for work.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/batching/scheduler.h"
#include "tests/unit/batching/script.h"

namespace torchd {

class ScriptWorld {
 public:
  ScriptWorld(const Script& script, Model& model);

  // The first rule that was broken, and when; empty: none was.
  std::string Run();

  // How the rows fared, to see that a script tests something.
  struct Fates {
    int64_t ran = 0, refused = 0, dropped = 0, runs = 0, held = 0;
    // Of those that ran, where all was measured; tried: late and alone.
    int64_t with_deadline = 0, late = 0, tried = 0;
  };
  const Fates& fates() const { return fates_; }

 private:
  enum class Fate { kToCome, kWaiting, kRefused, kDropped, kRan };
  struct Row {
    const ScriptRow* script = nullptr;
    Fate fate = Fate::kToCome;
    Instant admitted, deadline = kNever, cancels = kNever;
    std::atomic<bool> cancelled{false};
    int64_t pushed = 0;
    // Since the last event an idle executor leaves it waiting for company, and nothing else has
    // come in between: no other run that took the executor, no new measurement.
    bool held = false;
  };
  struct Executor {
    bool busy = false;
    Instant until;
    int lane = -1;  // -1: something else.
    int size = 0;
    size_t bucket = 0;
  };
  // Why rows may be dropped.
  enum class During { kPush, kNext, kSweep };

  void Fail(const std::string& what);
  Instant NextEvent() const;
  // When an executor that waits for company asks again.
  Instant WakeTime() const;
  bool EndRuns();
  void Cancel();
  bool Arrive();
  void Push(Row& row);
  void Sweep();
  void Offer();
  bool Start(int self);
  bool MeasuredAll() const;
  bool CouldBeInTime(const Row& row) const;
  void CheckInTime(const Row& row, const Batch& batch);
  void CheckRefusal(const Row& row, const absl::Status& why);
  void CheckDisplaced(const Row& row, const Row& newcomer);
  void CheckHeld(const Row& row);
  void CheckDropped(During during, const Row* newcomer);
  void CheckBatch(const Batch& batch);
  void CheckRun(Row& row, const Batch& batch);
  void CheckTurn(const Row& row);
  void CheckCounts();
  void CheckNobodyIdles();
  void CheckEnd();
  void Leaves(Row& row, Fate fate);

  // The scheduler does not look at a row's bytes: they lead back to it.
  static Row& RowOf(const Request& request) {
    return *static_cast<Row*>(const_cast<void*>(request.inputs[0].data));
  }
  bool Alive(const Row& row) const { return !row.cancelled && row.deadline > now_; }
  int Waiting(int lane) const;
  int Waiting(int lane, int client) const;
  bool Alike(const Row& a, const Row& b) const {
    return a.script->lane == b.script->lane && a.script->size == b.script->size;
  }
  Duration Ageing(const Row& row) const {
    return script_.lanes[static_cast<size_t>(row.script->lane)].options.ageing;
  }
  int64_t& LastTurn(const Row& row) {
    const ScriptRow& of = *row.script;
    return last_turns_[static_cast<size_t>(
        ((of.lane * kScriptSizes + of.size - 1) * kPriorities + static_cast<int>(of.priority)) *
            kScriptClients +
        of.client)];
  }

  const Script& script_;
  std::deque<Lane> lanes_;
  std::vector<Row> rows_;
  std::vector<Executor> executors_;
  std::vector<int> running_;                       // By lane.
  std::array<Instant, kScriptLanes> last_ends_{};  // Of runs, by lane.
  Scheduler scheduler_;
  Dropped dropped_;
  std::vector<Row*> waiting_;  // As admitted.
  size_t arrived_ = 0;
  int64_t count_ = 0;  // Of pushes and turns, in one order.
  std::array<int64_t, kScriptLanes * kScriptSizes * kPriorities * kScriptClients> last_turns_{};
  const Instant start_{std::chrono::hours(1)};
  Instant now_ = start_;
  std::string broken_;
  Fates fates_;
};

}  // namespace torchd
