// Carries Classify calls: look up, prepare, queue, run, answer. See ARCHITECTURE.md, "Life of a
// request".
//
// Thread-safety: Start() from any thread; it never blocks.
// Ownership: borrows registry, executors, pool, metrics and clock; all of them, and the Classifier,
// outlive the last call's `keeps`.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "server/base/alarms.h"
#include "server/base/clock.h"
#include "server/base/thread_pool.h"
#include "server/batching/executors.h"
#include "server/classify/classify.h"
#include "server/metrics/server_metrics.h"
#include "server/registry/registry.h"

namespace torchd {

struct ClassifyAnswer {
  absl::Status status;            // Of the whole call.
  ModelHandle servable;           // What ran; set unless the look-up failed.
  std::vector<ItemAnswer> items;  // In the order of the call, when status is OK.
};

class Classifier {
 public:
  struct Parts {
    Registry& registry;
    Executors& executors;
    ThreadPool& preprocessing;
    ServerMetrics& metrics;
    const Clock& clock;
    int64_t in_flight_bytes_max = int64_t{1} << 30;  // Of calls between Start() and completion.
  };
  using Done = absl::AnyInvocable<void(ClassifyAnswer)>;

  explicit Classifier(Parts parts) : parts_(parts), alarms_(parts.clock) {}

  // Calls `done` exactly once: on the calling thread when the call is refused, else on the thread
  // that finished the last item, or at `answer_by` on a thread of its own. What the call borrows
  // is borrowed until `call.keeps` is released, which may be later.
  void Start(ClassifyCall call, Done done);

 private:
  class Flight;  // One call between Start() and its completion.

  const Parts parts_;
  std::atomic<int64_t> in_flight_bytes_{0};
  Alarms alarms_;
};

}  // namespace torchd
