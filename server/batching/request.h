// One row on its way through an executor.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/batching/lane.h"
#include "server/inference/model.h"
#include "server/metrics/server_metrics.h"

namespace torchd {

// What an executor tells about a request that it ran or gave up.
struct RunTimes {
  Instant admitted;
  Instant started;                    // Taken from the queue; the run begins.
  Instant finished;                   // The run has ended.
  int batch_rows = 0;                 // Of its run; 0: it was not run.
  Dispatch reason = Dispatch::kIdle;  // Of its run.
  bool leads = false;                 // The first row of its run.
};

enum class Priority { kHigh, kNormal, kLow };
inline constexpr int kPriorities = 3;

// Ownership: the queue owns a request from Submit() until its completion has returned.
// Borrowed: `lane`, its model and the bytes behind `inputs` outlive the completion.
struct Request {
  Lane* lane = nullptr;
  RowInputs inputs;
  Instant deadline = kNever;
  Priority priority = Priority::kNormal;
  uint64_t client = 0;  // Requests of one client wait for each other before others wait for them.
  bool alone = true;    // Nothing else of its call is to be submitted.
  // Set by whoever made the request, from any thread; a request still waiting is then dropped.
  const std::atomic<bool>* cancelled = nullptr;

  // Called exactly once: on a thread of the executors', or on that of whoever submits a row, this
  // one or another. On OK `outputs` are this row's, without the batch dimension, valid until it
  // returns. Must not block.
  absl::AnyInvocable<void(const absl::Status& status, const std::vector<TensorView>& outputs,
                          const RunTimes& times)>
      done;

  Instant admitted;  // Set by Submit().
};

inline bool IsCancelled(const Request& request) {
  return request.cancelled != nullptr && request.cancelled->load(std::memory_order_relaxed);
}

// Times differ: a run must end so long before the deadlines of its rows, less where they are short.
inline constexpr Duration kSpare = std::chrono::milliseconds(2);
inline constexpr int kSpareShare = 10;
inline Duration SpareTime(Duration left) { return std::min<Duration>(kSpare, left / kSpareShare); }

// When a run has to end that answers it. Requires: it was admitted.
inline Instant LatestEnd(const Request& request) {
  if (request.deadline == kNever) return kNever;
  return request.deadline - SpareTime(request.deadline - request.admitted);
}

}  // namespace torchd
