// Carries Classify calls: look up, prepare, queue, run, answer. See ARCHITECTURE.md, "Life of a
// request".
//
// Thread-safety: Start() from any thread; it never blocks.
// Ownership: borrows registry, executors, preparers, metrics and clock; all of them, and the
// Classifier, outlive the last call's `keeps`.
#pragma once

#include <cstdint>

#include "server/base/alarms.h"
#include "server/base/clock.h"
#include "server/batching/executors.h"
#include "server/classify/classify.h"
#include "server/classify/flight.h"
#include "server/classify/in_flight_memory.h"
#include "server/classify/preparers.h"
#include "server/metrics/server_metrics.h"
#include "server/registry/registry.h"

namespace torchd {

class Classifier {
 public:
  struct Parts {
    Registry& registry;
    Executors& executors;
    Preparers& preparers;
    ServerMetrics& metrics;
    const Clock& clock;
    int64_t in_flight_bytes_max = int64_t{1} << 30;  // Of calls between Start() and completion.
  };
  using Done = Flight::Done;

  explicit Classifier(Parts parts)
      : parts_(parts), memory_(parts.in_flight_bytes_max), alarms_(parts.clock) {}

  // Calls `done` exactly once: on the calling thread when the call is refused, else on the thread
  // that finished the last item, or at `answer_by` on a thread of its own. What the call borrows
  // is borrowed until `call.keeps` is released, which may be later.
  void Start(ClassifyCall call, Done done);

 private:
  const Parts parts_;
  InFlightMemory memory_;
  Alarms alarms_;
};

}  // namespace torchd
