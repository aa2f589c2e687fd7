// Which waiting request runs next, and which are too late to run at all.
//
// Thread-safety: none; Executors owns one and calls it under its mutex.
// Ownership: holds each request from Push() until Pop() hands it on.
// Time: passed in, so a test replays any decision without a thread or a sleep.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/inference/request.h"

namespace torchd {

class BatchQueue {
 public:
  struct Limits {
    int rows_waiting_max = 256;  // Push() refuses beyond this.
  };

  // What Pop() found: at most one request to run, and those that must not run any more.
  struct Due {
    std::unique_ptr<Request> run;
    std::vector<std::unique_ptr<Request>> expired;    // Their deadline has passed.
    std::vector<std::unique_ptr<Request>> cancelled;  // Their caller has gone.
  };

  explicit BatchQueue(Limits limits) : limits_(limits) {}

  // RESOURCE_EXHAUSTED when full, DEADLINE_EXCEEDED when it is too late already; moves from
  // `request` only when it returns OK.
  absl::Status Push(std::unique_ptr<Request>&& request, Instant now);

  // First come, first served.
  Due Pop(Instant now);

  int rows_waiting() const { return static_cast<int>(waiting_.size()); }

 private:
  const Limits limits_;
  std::deque<std::unique_ptr<Request>> waiting_;
};

}  // namespace torchd
