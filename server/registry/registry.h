// Names and versions to handles, and the life of each version: SetRepository() says what there is,
// NextAction() (lifecycle.h) what to do, loading threads do it, the reaper ends it.
//
// A newcomer is tried in a process of its own, loaded, warmed up and compared with the trial; only
// then does it take the place of what served until then. If it fails, nothing changes but the
// listing.
//
// Thread-safety: all methods. No lookup waits for a load: the mutex is held for map access only.
// Ownership: a handle keeps its version alive, also beyond the registry's end.
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
#include "server/base/thread_pool.h"
#include "server/metrics/server_metrics.h"
#include "server/registry/arrival.h"
#include "server/registry/lifecycle.h"
#include "server/registry/loaders.h"
#include "server/registry/memory_budget.h"
#include "server/registry/reaper.h"
#include "server/registry/repository.h"
#include "server/registry/servable.h"

namespace torchd {

struct VersionStatus {
  std::string name;
  int64_t version = 0;
  VersionState state = VersionState::kUnknown;
  std::string reason;     // Why it does not serve, or not what is on disk.
  ModelHandle servable;   // Set while it serves.
  PlanChoice plan;        // Likewise: by what is known now.
  Duration load_time{0};  // Of the copy that serves.
  bool wanted = false;    // By the policy, a label, and whoever decides; no odd name ever is.
  std::vector<std::string> labels;  // Those that lead to it now: "stable".
  std::vector<std::string> notes;   // Of the model: what its owner should know.
};

// Which version a caller wants. At most one of the two is set.
struct VersionChoice {
  int64_t version = 0;  // 0: the highest that serves, of those the policy asks for if it can be.
  std::string label = {};
};

// Which of a model's versions load: those whose files changed; also those that failed, at once;
// also those that serve, in a new copy.
enum class Anew { kChanged, kFailed, kAll };

class Registry {
 public:
  struct Parts {
    ArrivalParts arrival;
    // Told of each model when it turns ready, or wanted, or no longer: name, whether a version is
    // ready. So whoever sums up all models (VersionStatus::wanted) is never behind.
    std::function<void(const std::string& name, bool ready)> on_change;
    ServerMetrics* metrics = nullptr;
    const Clock* clock = nullptr;
    int load_threads = 1;          // Versions of different models that load side by side.
    int64_t memory_bytes_max = 0;  // Of all models together; 0: no limit.
    bool on_demand = false;        // A model loads once Ask() names it.
  };

  // Borrows metrics and clock of `parts`; they outlive the registry.
  explicit Registry(Parts parts);

  // Loads that have not begun never will; waits for those that have.
  ~Registry();

  // What the repository holds now. Returns at once; loads and unloads follow.
  void SetRepository(const RepositorySnapshot& repository) ABSL_LOCKS_EXCLUDED(mutex_);

  // The same for one model alone, and what of it loads besides, in one step: nothing loads twice.
  void SetModel(const std::string& name, const RepositorySnapshot& repository,
                Anew anew = Anew::kChanged) ABSL_LOCKS_EXCLUDED(mutex_);

  // Whether a model may load, where that is on demand. No effect on a name that is not known.
  void Ask(const std::string& name, bool asked) ABSL_LOCKS_EXCLUDED(mutex_);

  // `done` runs once nothing is loading, due or draining for the model: here, if so already, or on
  // a thread of the registry's. After StopLoading() nothing is due. Not after the destructor began.
  void WhenSettled(const std::string& name, std::function<void()> done) ABSL_LOCKS_EXCLUDED(mutex_);

  // Tries again what waited for its time. Call by NextDueTime().
  void Tick() ABSL_LOCKS_EXCLUDED(mutex_);
  Instant NextDueTime() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Loads that have not begun never will, nor unloads; who waits for them is told.
  void StopLoading() ABSL_LOCKS_EXCLUDED(mutex_);
  bool stopping() const { return stopping_; }

  // Whether StopLoading() keeps the model from what is due for it.
  bool LeftUndone(const std::string& name) const ABSL_LOCKS_EXCLUDED(mutex_);

  // The same, waits for the loads that have begun, and lets go of all versions. on_change is told
  // nothing after.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

  // Nothing is loading or due.
  bool settled() const ABSL_LOCKS_EXCLUDED(mutex_);

  bool Knows(const std::string& name) const ABSL_LOCKS_EXCLUDED(mutex_);

  // Tells on_change of every model again.
  void TellAll() ABSL_LOCKS_EXCLUDED(telling_mutex_, mutex_);

  // `name` may be empty when there is one model. NOT_FOUND: no such model, version or label (those
  // there are are named). UNAVAILABLE: not ready.
  absl::StatusOr<ModelHandle> Lookup(absl::string_view name, const VersionChoice& choice) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // All versions, by name and number.
  std::vector<VersionStatus> Snapshot() const ABSL_LOCKS_EXCLUDED(mutex_);

  const MemoryBudget& memory() const { return memory_; }
  // Beside what the versions take; as MemoryBudget::Reserve().
  absl::StatusOr<MemoryBudget::Lease> Reserve(int64_t bytes) { return memory_.Reserve(bytes); }

 private:
  struct Version {
    VersionFacts facts;
    VersionFolder folder;  // As last seen on disk.
    uint64_t reloads = 0;  // Part of the fingerprint in `facts`.
    ModelHandle servable;
    PlanChoice plan;  // Of `servable`, or what a search found out since.
    std::string reason;
    int failures = 0;
    int draining = 0;  // Copies that no longer serve but still answer somebody.
    bool unloaded = false;
    Duration load_time{0};
  };
  struct Entry {
    ModelOnDisk about;                    // Without the versions.
    std::map<int64_t, Version> versions;  // At least one, whenever mutex_ is free.
    VersionLabels labels;                 // Where each leads now, not yet where it is to lead.
    ModelHandle current;  // What a look-up without a version answers; none: nothing serves.
    bool asked = false;
    std::vector<std::function<void()>> waiting;
  };
  using Models = std::map<std::string, Entry>;
  struct News {
    bool known = false;
    bool ready = false;
    bool wanted = false;
    bool operator==(const News& other) const {
      return ready == other.ready && wanted == other.wanted;
    }
  };
  struct Task {
    VersionFolder folder;
    uint64_t fingerprint = 0;
  };

  // Trials that take long give up their place among the loaders.
  Parts WithTrialsAside(Parts parts);
  static const ModelOnDisk* Find(const RepositorySnapshot& repository, const std::string& name);
  static ModelFacts FactsOf(const Entry& entry);
  static VersionState StateOf(const Version& version);
  static void SetFolder(const VersionFolder& folder, Version& version);
  static void MoveLabels(Entry& entry);
  static std::vector<std::string> LabelNotes(const Entry& entry);
  std::set<int64_t> WantedOf(const Entry& entry, const ModelFacts& facts) const;
  bool Due(const Entry& entry) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Settled(const Entry& entry) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  VersionStatus StatusOf(const std::string& name, const Entry& entry, int64_t number) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void Renew(Anew anew, Version& version);
  void Update(const ModelOnDisk* model, Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<ModelHandle> Choose(const std::string& name, const Entry& entry,
                                     const VersionChoice& choice) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Does what NextAction() says until it says nothing; then tells and wakes who waits.
  void Advance(const std::string& name) ABSL_LOCKS_EXCLUDED(telling_mutex_, mutex_);
  void Act(Entry& entry, std::vector<ModelHandle>& dropped) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static void DropAbsent(Entry& entry);
  ModelHandle CurrentOf(const Entry& entry) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Load(const Task& task) ABSL_LOCKS_EXCLUDED(telling_mutex_, mutex_);
  void Abandon(const Task& task) ABSL_LOCKS_EXCLUDED(telling_mutex_, mutex_);
  void Finish(const Task& task, absl::StatusOr<std::unique_ptr<Servable>> made, Duration load_time)
      ABSL_LOCKS_EXCLUDED(telling_mutex_, mutex_);
  void OnGone(const std::string& name, int64_t number) ABSL_LOCKS_EXCLUDED(mutex_);

  // A version that serves by the default plan until the others were tried: the search and what
  // follows of it, on a thread of their own, for as long as that copy serves.
  using Target = std::weak_ptr<const Servable>;
  void ImproveLater(const ModelHandle& serving);
  void Improve(const VersionFolder& folder, const Target& target)
      ABSL_LOCKS_EXCLUDED(telling_mutex_, mutex_);
  // Null: the plan that serves is the best. `report`: what was found out.
  absl::StatusOr<std::unique_ptr<Servable>> FindBetter(const VersionFolder& folder,
                                                       const Target& target,
                                                       const std::function<bool()>& wanted,
                                                       PlanChoice& report)
      ABSL_LOCKS_EXCLUDED(mutex_);
  Version* Serving(const VersionFolder& folder, const Target& target)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool StillServes(const VersionFolder& folder, const Target& target) ABSL_LOCKS_EXCLUDED(mutex_);
  void Discard(std::unique_ptr<Servable> made);
  void Swap(const VersionFolder& folder, const Target& target, std::unique_ptr<Servable> better,
            PlanChoice report) ABSL_LOCKS_EXCLUDED(telling_mutex_, mutex_);

  News NewsOf(const std::string& name) const ABSL_LOCKS_EXCLUDED(mutex_);
  void Tell(const std::string& name) ABSL_LOCKS_EXCLUDED(telling_mutex_, mutex_);

  const Parts parts_;
  std::atomic<bool> stopping_{false};
  MemoryBudget memory_;
  absl::Mutex telling_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);  // Held while on_change is told.
  std::map<std::string, News> told_ ABSL_GUARDED_BY(telling_mutex_);  // Of what is known.
  mutable absl::Mutex mutex_;
  Models models_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Reaper> reaper_;
  std::unique_ptr<ThreadPool> improver_;
  Loaders loaders_;
};

}  // namespace torchd
