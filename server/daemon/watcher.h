// The thread that looks: at the repository's files (in watch mode), at what is due, at what is
// stuck.
//
// Thread-safety: none; its owner starts and destroys it. Borrows source, registry and clock.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/registry/folder_watch.h"
#include "server/registry/registry.h"
#include "server/registry/repository.h"
#include "server/registry/repository_source.h"

namespace torchd {

class Watcher {
 public:
  struct Options {
    std::string repository;
    bool watch = false;  // Changed files are loaded.
    Duration poll_every{0};
    std::function<void()> tick;  // Called about twice a second.
  };

  // `known`: what the registry was told at the start.
  static absl::StatusOr<std::unique_ptr<Watcher>> Start(Options options,
                                                        const RepositorySnapshot& known,
                                                        RepositorySource& source,
                                                        Registry& registry, const Clock& clock);
  ~Watcher();

 private:
  Watcher(Options options, std::unique_ptr<FolderWatch> watch, RepositorySource& source,
          Registry& registry, const Clock& clock);

  void Run();
  void Rescan();

  const Options options_;
  const std::unique_ptr<FolderWatch> watch_;
  RepositorySource& source_;
  Registry& registry_;
  const Clock& clock_;
  bool warned_ = false;  // The thread's own, as is `watch_` but for Wake().
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace torchd
