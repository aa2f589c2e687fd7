// The thread that looks: at the repository's files (in watch mode), at what is due, at what is
// stuck.
//
// Thread-safety: none; its owner starts and destroys it. Borrows registry and clock.
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
#include "server/registry/settling.h"

namespace torchd {

class Watcher {
 public:
  struct Options {
    std::string repository;
    ScanOptions scan;
    bool watch = false;  // Changed files are loaded.
    Duration settle{0};
    Duration poll_every{0};
    std::function<void()> tick;  // Called about twice a second.
  };

  // `accepted`: what the registry was given at the start.
  static absl::StatusOr<std::unique_ptr<Watcher>> Start(Options options,
                                                        const RepositorySnapshot& accepted,
                                                        Registry& registry, const Clock& clock);
  ~Watcher();

 private:
  Watcher(Options options, std::unique_ptr<FolderWatch> watch, Registry& registry,
          const Clock& clock);

  void Run();
  void Rescan();

  const Options options_;
  const std::unique_ptr<FolderWatch> watch_;
  Registry& registry_;
  const Clock& clock_;
  Settling settling_;  // The thread's own, once started.
  bool warned_ = false;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace torchd
