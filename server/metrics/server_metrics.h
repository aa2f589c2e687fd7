// Every number torchd shows to Prometheus; docs/metrics.md says what each means.
//
// Example:
//   ServerMetrics metrics({.version = "0.1.0", .libtorch = "2.11.0"});
//   ModelMetrics& cat = metrics.ForModel("cat", 1);  // When the version is loaded.
//   cat.request.Observe(answered - arrived);         // On the hot path: no look-up, no lock.
//   cat.items(absl::StatusCode::kOk).Add();
//
// Labels come from the configuration and from fixed lists only, never from a client, so the number
// of series has a limit: requests for unknown models share one counter.
//
// Thread-safety: all methods.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/metrics/histogram.h"

namespace torchd {

// Why a run began when it did.
enum class Dispatch {
  kIdle,   // An idle executor took what came.
  kNext,   // An executor had ended its run, and this waited.
  kFull,   // As many rows as the model takes.
  kDelay,  // After waiting for company.
  kRetry,  // A row of a run that failed, by itself.
};
inline constexpr std::size_t kDispatches = 5;

// One version of one model.
class ModelMetrics {
 public:
  LatencyHistogram request;  // An item, from the arrival of its request to its answer.
  LatencyHistogram preprocess;
  LatencyHistogram queue;
  LatencyHistogram execute;
  LatencyHistogram postprocess;
  RowsHistogram batch_rows;  // Of each run.

  Counter& runs(Dispatch reason) { return runs_[static_cast<std::size_t>(reason)]; }
  const Counter& runs(Dispatch reason) const { return runs_[static_cast<std::size_t>(reason)]; }

  // Items answered with `code`.
  Counter& items(absl::StatusCode code) { return items_[ItemsIndex(code)]; }
  const Counter& items(absl::StatusCode code) const { return items_[ItemsIndex(code)]; }

 private:
  static constexpr std::size_t kCodes = 17;  // OK to UNAUTHENTICATED; gRPC has no others.

  static std::size_t ItemsIndex(absl::StatusCode code);

  std::array<Counter, kCodes> items_;
  std::array<Counter, kDispatches> runs_;
};

// Why a request did not reach a model.
enum class Refusal {
  kUnknownModel,
  kNotReady,
  kQueueFull,
  kInvalid,
  kDeadline,   // It passed while the request waited.
  kTooLate,    // It would have passed.
  kDisplaced,  // The queue was full, and another's turn came first.
  kMemory,     // Too many bytes in flight.
  kDraining,   // The server is about to end.
};
inline constexpr std::size_t kRefusals = 9;

class ServerMetrics final : public prometheus::Collectable {
 public:
  struct BuildInfo {
    std::string version;
    std::string libtorch;
  };
  struct ModelState {
    std::string model;
    std::int64_t version = 0;
    std::string state;      // UNKNOWN, LOADING, READY, UNLOADING or UNAVAILABLE.
    std::string plan = {};  // By which it runs; empty: it does not.
    int plan_threads = 0;   // 0: all of an executor's.
    std::int64_t plan_fallbacks = 0;
  };

  explicit ServerMetrics(BuildInfo build) : build_(std::move(build)) {}

  // Called when a version is loaded, not per request. The reference stays valid until RemoveModel()
  // was called as often as ForModel() for this version: a version that is loaded anew while its
  // former self still drains counts on in the same place.
  ModelMetrics& ForModel(const std::string& model, std::int64_t version)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // No effect for a version that ForModel() was not asked for.
  void RemoveModel(const std::string& model, std::int64_t version) ABSL_LOCKS_EXCLUDED(mutex_);

  // Since the start, also of versions that are gone.
  struct Items {
    std::uint64_t ok = 0;
    std::uint64_t failed = 0;
  };
  Items items() const ABSL_LOCKS_EXCLUDED(mutex_);

  // A version was loaded, or not; `code` says why not.
  void CountLoad(const std::string& model, absl::StatusCode code) ABSL_LOCKS_EXCLUDED(mutex_);

  Counter& refused(Refusal reason) { return refused_[static_cast<std::size_t>(reason)]; }

  // Both are called by Collect(), on the thread of whoever scrapes, without a lock of this class.
  // What they refer to must outlive the last Collect(): stop the HTTP server first.
  void AddExecutor(const std::string& executor, std::function<std::int64_t()> rows_waiting)
      ABSL_LOCKS_EXCLUDED(mutex_);
  void SetModelStates(std::function<std::vector<ModelState>()> states) ABSL_LOCKS_EXCLUDED(mutex_);

  std::vector<prometheus::MetricFamily> Collect() const override ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Entry {
    int uses = 0;
    std::unique_ptr<ModelMetrics> metrics;
  };
  using Families = std::vector<prometheus::MetricFamily>;

  static void AddTo(const ModelMetrics& metrics, Items& items);
  void CollectModels(Families& families) const ABSL_LOCKS_EXCLUDED(mutex_);
  void CollectLoads(Families& families) const ABSL_LOCKS_EXCLUDED(mutex_);
  void CollectRefusals(Families& families) const;
  void CollectExecutors(Families& families) const ABSL_LOCKS_EXCLUDED(mutex_);
  void CollectStates(Families& families) const ABSL_LOCKS_EXCLUDED(mutex_);
  void CollectProcess(Families& families) const;

  const BuildInfo build_;
  std::array<Counter, kRefusals> refused_;
  mutable absl::Mutex mutex_;
  std::map<std::pair<std::string, std::int64_t>, Entry> models_ ABSL_GUARDED_BY(mutex_);
  Items removed_ ABSL_GUARDED_BY(mutex_);  // Of versions that are gone.
  std::map<std::pair<std::string, absl::StatusCode>, std::uint64_t> loads_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::function<std::int64_t()>> executors_ ABSL_GUARDED_BY(mutex_);
  std::function<std::vector<ModelState>()> states_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace torchd
