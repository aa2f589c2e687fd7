// Looks at the repository and tells the registry what it holds: all that has settled, as the
// watcher asks time and again, or one model as it is at this moment, as an operator asks.
//
// An operator means the files as they are now. So a model that was looked at counts as complete,
// and the next look at all does not put an older view of it back.
//
// A repository that holds no model all at once is taken for an unmounted disk.
//
// Thread-safety: all methods. One look at a time, from the scan until the registry knows: it never
// learns an older view after a newer one. A look takes as long as the disk; others wait for it.
// Ownership: owns what is known to have settled; borrows registry and clock, which outlive it. What
// the registry calls on a change must not look.
#pragma once

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"
#include "server/registry/registry.h"
#include "server/registry/repository.h"
#include "server/registry/settling.h"

namespace torchd {

class RepositorySource {
 public:
  struct Options {
    std::string repository;
    ScanOptions scan;
    Duration settle{0};
  };

  RepositorySource(Options options, Registry& registry, const Clock& clock);

  // Tells all of `seen`, as the first look: nothing in it is waited for.
  void Begin(const RepositorySnapshot& seen) ABSL_LOCKS_EXCLUDED(mutex_);

  // Tells what has settled by now; returns what there is, settled or not. When the repository
  // cannot be read, or held models and is empty, that is the error, and nothing is told.
  absl::StatusOr<RepositorySnapshot> Look() ABSL_LOCKS_EXCLUDED(mutex_);

  // Tells of one model, as it is now. NOT_FOUND when it is not there: then, or when the repository
  // cannot be read, nothing is told, as somebody may be about to put it back.
  absl::Status LookAt(const std::string& name, Anew anew = Anew::kChanged)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // When Look() will tell more though nothing changes; kNever when nothing waits, or the last look
  // found no repository.
  Instant NextDueTime() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::StatusOr<RepositorySnapshot> Scan() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remember(const RepositorySnapshot& seen) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  Registry& registry_;
  const Clock& clock_;
  mutable absl::Mutex mutex_;
  Settling settling_ ABSL_GUARDED_BY(mutex_);
  // Of the last scan that was told.
  Layout layout_ ABSL_GUARDED_BY(mutex_) = Layout::kUnknown;
  std::vector<std::string> notes_ ABSL_GUARDED_BY(mutex_);
  bool readable_ ABSL_GUARDED_BY(mutex_) = true;
};

}  // namespace torchd
