// Which images and texts are worth preparing, and in which order.
//
// Refused at once: what finds no room, and what would miss its deadline behind those before it,
// here or in its model's queue. Who is prepared next, of those that are not too late already:
//  - by priority; whoever waited `ageing` counts as a priority higher, so none starves;
//  - of one priority the client that was served longest ago, so that a flood waits for itself;
//  - of one client the earliest deadline.
// A client may hold half of what the others leave free, so that there is room for the next one.
//
// Pure: what has happened and what time it is go in, decisions come out. Preparers adds the
// threads. Linear in what waits: a look at all of it takes less than preparing one.
//
// Thread-safety: none; Preparers calls it under its mutex.
// Ownership: holds each task from Push() until Pop() hands it on.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/batching/request.h"

namespace torchd {

struct PrepTask {
  std::string model;  // Tasks of one name take about as long as each other.
  Priority priority = Priority::kNormal;
  uint64_t client = 0;
  Instant deadline = kNever;
  Duration ageing = std::chrono::seconds(1);
  const std::atomic<bool>* cancelled = nullptr;

  // Prepares, unless the caller is gone or it is too late, and returns what that took; 0: nothing
  // to learn from.
  absl::AnyInvocable<Duration()> prepare;
};

class PrepQueue {
 public:
  struct Limits {
    int threads = 1;              // That prepare at the same time.
    int tasks_waiting_max = 256;  // Push() refuses beyond this.
  };
  // What comes after the preparation: the queue of the task's model.
  struct Runs {
    int rows_waiting = 0;                        // In it.
    absl::FunctionRef<Duration(int rows)> time;  // Until so many have run; 0: nobody knows.
  };

  explicit PrepQueue(Limits limits) : limits_(limits) {}

  // RESOURCE_EXHAUSTED or DEADLINE_EXCEEDED: refused. Moves from `task` only when it returns OK.
  absl::Status Push(PrepTask&& task, Instant now, const Runs& runs);

  // What a thread prepares next: those too late or cancelled first, for they cost nothing.
  struct Begun {
    PrepTask task;
    uint64_t key = 0;  // For Finished().
  };
  std::optional<Begun> Pop(Instant now);

  // `took`: what the task returned.
  void Finished(uint64_t key, Duration took);

  int waiting() const { return static_cast<int>(waiting_.size()); }

 private:
  struct Client {
    int waiting = 0;
    int running = 0;
    uint64_t served = 0;  // Twice the turn in which it was last; odd: as if just before that.
  };
  struct Model {
    Duration typical{0};  // The mean of recent tasks; 0: none has ended.
  };
  struct Waiting {
    PrepTask task;
    Instant since;
    Instant due;  // Its deadline, or when it is as urgent as one whose deadline is then.
    uint64_t key = 0;
    const Client* client = nullptr;
    const Model* model = nullptr;
  };
  struct Running {
    uint64_t client = 0;
    Model* model = nullptr;
  };
  // What is prepared before a task of a client.
  struct Ahead {
    Duration work{0};
    double rows = 0;  // Of the task's model.
  };

  absl::Status CheckRoom(uint64_t client) const;
  Ahead AheadOf(const PrepTask& task, const Model& model, Instant due, Instant now) const;
  absl::Status CheckTime(const PrepTask& task, const Model& model, Instant due, Instant now,
                         const Runs& runs) const;

  const Limits limits_;
  std::vector<Waiting> waiting_;
  std::map<uint64_t, Running> running_;  // By key.
  std::map<uint64_t, Client> clients_;   // Of which a task waits or runs.
  std::map<std::string, Model> models_;  // Their names come from the repository.
  uint64_t keys_ = 0;
  uint64_t turns_ = 0;
};

}  // namespace torchd
