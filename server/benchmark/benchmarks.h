// Measures a model where it serves: on its executors, in turns with the rows of clients.
//
// Thread-safety: all methods. Ownership: borrows registry, executors and clock; they outlive it. A
// benchmark holds its version by a handle. The destructor ends what runs, and waits for that.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"
#include "server/base/thread_pool.h"
#include "server/batching/executors.h"
#include "server/benchmark/spec.h"
#include "server/measuring/samples.h"
#include "server/registry/registry.h"

namespace torchd {

struct BenchmarkProgress {
  enum class Phase { kLoading, kWarmUp, kMeasuring };

  Phase phase = Phase::kLoading;
  int64_t runs = 0;        // That have ended, of this phase.
  int64_t runs_total = 0;  // Of this phase; 0: not known.
  double share = 0;        // Of the measuring that is done: 0..1.
  Duration elapsed{0};     // Since the call came.
};

struct BenchmarkResult {
  std::string model;
  int64_t version = 0;
  Plan plan = kDefaultPlan;        // That ran, in the end.
  std::vector<TensorSpec> inputs;  // Of one row.
  int64_t batch_size = 1;
  int64_t concurrency = 1;
  int64_t warm_up = 0;  // Runs.
  TimeSummary times;    // Of the runs that count.
  std::vector<TimeBin> bins;
  std::vector<Duration> curve;  // The first runs of all, the warm-up first.
  double rows_per_second = 0;   // While it had the executors.
  int64_t rows_went_first = 0;  // Runs of clients' rows that went before one of its own.
  Duration elapsed{0};
};

class Benchmarks {
 public:
  struct Parts {
    Registry& registry;
    Executors& executors;
    const Clock& clock;
    // The model of this version anew, by another plan. Empty: no other plan can be measured.
    std::function<absl::StatusOr<std::unique_ptr<Model>>(const Servable&, Plan)> load;
    int at_once = 1;  // More are refused; 0: all are.
    // What `run`, on an executor's thread, takes in memory at most, bytes. Empty: not known.
    std::function<int64_t(const std::function<void()>& run)> memory_of = {};
    // What there is still to be taken, bytes, as far as it is known.
    std::function<std::optional<int64_t>()> memory_free = [] { return std::nullopt; };
  };

  // Who is told. All but `cancelled` are called on a thread of the benchmarks'.
  struct Caller {
    std::function<bool()> cancelled;                            // From any thread.
    std::function<void(const BenchmarkProgress&)> progress;     // About every 100 ms.
    std::function<void(absl::StatusOr<BenchmarkResult>)> done;  // Once, at last.
  };

  explicit Benchmarks(Parts parts);
  ~Benchmarks();

  // Returns at once; after an error nobody is told anything. INVALID_ARGUMENT, FAILED_PRECONDITION:
  // as spec.h says. NOT_FOUND, UNAVAILABLE: no such version, or not ready, or Stop() was called.
  // RESOURCE_EXHAUSTED: another one runs.
  //
  // What `done` is told: RESOURCE_EXHAUSTED where runs of more rows than clients' runs have would
  // take more memory than there is, by what a run of a row more than those takes; CANCELLED, within
  // one run of when the caller was; UNAVAILABLE likewise after Stop(); the status of a run that
  // failed; FAILED_PRECONDITION where another plan's answers are not those of the model that
  // serves.
  absl::Status Start(BenchmarkSpec spec, Caller caller) ABSL_LOCKS_EXCLUDED(mutex_);

  // What runs ends, what comes is refused.
  void Stop() { stopping_.store(true); }

 private:
  class Job;

  absl::Status TakePlace(const std::string& model) ABSL_LOCKS_EXCLUDED(mutex_);
  void GivePlaceBack(const std::string& model) ABSL_LOCKS_EXCLUDED(mutex_);

  const Parts parts_;
  std::atomic<bool> stopping_{false};
  absl::Mutex mutex_;
  std::vector<std::string> running_ ABSL_GUARDED_BY(mutex_);  // Their models.
  ThreadPool threads_;
};

}  // namespace torchd
