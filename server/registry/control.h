// Who decides what is loaded: the repository as it was at the start (fixed), as it is (watch), or
// an operator, model by model (explicit).
//
// Thread-safety: all methods. Looks and state files are read and written on a thread of its own.
// Ownership: borrows source and registry, which outlive it.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "server/base/thread_pool.h"
#include "server/registry/registry.h"
#include "server/registry/repository.h"
#include "server/registry/repository_source.h"

namespace torchd {

enum class ControlMode { kFixed, kWatch, kExplicit };

class RepositoryControl {
 public:
  struct Options {
    ControlMode mode = ControlMode::kFixed;
    std::string state_file;  // Explicit mode: the names that were loaded; empty: forgotten at exit.
  };
  // Called once, on a thread of the registry's or the control's.
  using Done = std::function<void(const absl::Status& status)>;

  RepositoryControl(Options options, RepositorySource& source, Registry& registry);

  // Gives the registry what the repository holds, and in explicit mode what the state file names.
  absl::Status Start(const RepositorySnapshot& snapshot);

  // Each ends when the model has nothing more to do. OK: it serves what it should (after Unload():
  // nothing). NOT_FOUND: no such model. FAILED_PRECONDITION: not in this mode, or the version does
  // not load, with the reason. UNAVAILABLE: the registry is stopping, and it is not done.
  void Load(const std::string& name, const Done& done);
  void Unload(const std::string& name, const Done& done);
  void Reload(const std::string& name, const Done& done);

 private:
  using Step = absl::Status (RepositoryControl::*)(const std::string& name);

  void Enqueue(const std::string& name, Step step, const Done& done);
  absl::Status BeginLoad(const std::string& name);
  absl::Status BeginUnload(const std::string& name);
  absl::Status BeginReload(const std::string& name);
  absl::Status Refresh(const std::string& name, Anew anew);
  absl::Status Remember(const std::string& name, bool asked);

  const Options options_;
  RepositorySource& source_;
  Registry& registry_;
  std::set<std::string> asked_;  // The control's own thread only, once started.
  ThreadPool thread_;
};

}  // namespace torchd
