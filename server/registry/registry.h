// Names and versions to handles. For now it loads what the repository holds, once, at start.
//
// Thread-safety: all methods. No lookup waits for a load: the mutex is held for map access only.
// Ownership: a handle keeps its version alive.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"
#include "server/metrics/server_metrics.h"
#include "server/registry/repository.h"
#include "server/registry/servable.h"

namespace torchd {

// kUnknown -> kLoading -> kReady | kUnavailable; kReady -> kUnloading.
enum class VersionState { kUnknown, kLoading, kReady, kUnloading, kUnavailable };
const char* Name(VersionState state);  // "READY"

struct VersionStatus {
  std::string name;
  int64_t version = 0;
  VersionState state = VersionState::kUnknown;
  std::string reason;    // Why it is kUnavailable.
  ModelHandle servable;  // Set while kReady.
  Duration load_time{0};
};

class Registry {
 public:
  struct Parts {
    // Makes a model of a file; called on a loading thread.
    std::function<absl::StatusOr<std::unique_ptr<Model>>(const std::string& path,
                                                         const ModelConfig& config)>
        load;
    // Runs the model where it will serve, until its first requests are as fast as later ones.
    std::function<absl::Status(Model&)> warm_up;
    // Called first on each loading thread.
    std::function<void()> prepare_thread;
    // Told of each model when what it can serve changes: name, whether a version is ready.
    std::function<void(const std::string& name, bool ready)> on_change;
    ImageLimits image_limits;
    ServerMetrics* metrics = nullptr;
    const Clock* clock = nullptr;
  };

  // Borrows metrics and clock of `parts`; they outlive the registry.
  explicit Registry(Parts parts) : parts_(std::move(parts)) {}

  // From now on these are known, though not ready.
  void Expect(const std::vector<VersionFolder>& folders) ABSL_LOCKS_EXCLUDED(mutex_);

  // Loads what is expected, `threads` at a time; returns when each is READY or UNAVAILABLE. A
  // version that fails does not stop the others.
  void LoadAll(const std::vector<VersionFolder>& folders, int threads);

  // Loads that have not begun never will.
  void StopLoading() { stopping_ = true; }

  // `name` may be empty when there is one model. `version` 0: the highest that is ready.
  // NOT_FOUND: no such model or version (the versions there are are named). UNAVAILABLE: not ready.
  absl::StatusOr<ModelHandle> Lookup(absl::string_view name, int64_t version) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // All versions, by name and number.
  std::vector<VersionStatus> Snapshot() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  using Versions = std::map<int64_t, VersionStatus>;

  void LoadOne(const VersionFolder& folder) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<ModelHandle> Make(const VersionFolder& folder);
  void Finish(const VersionFolder& folder, const absl::StatusOr<ModelHandle>& made,
              Duration load_time) ABSL_LOCKS_EXCLUDED(telling_mutex_, mutex_);

  const Parts parts_;
  std::atomic<bool> stopping_{false};
  absl::Mutex telling_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);  // Held while on_change is told.
  mutable absl::Mutex mutex_;
  std::map<std::string, Versions> models_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace torchd
