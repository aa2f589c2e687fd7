// Tells when something in the repository may have changed: at once where the kernel notices
// (inotify), else within `poll_every`, which also serves network file systems and what lies beyond
// the kernel's limits. It says "look again", never what changed.
//
// Thread-safety: one thread owns it; Wake() may be called from any.
//
// Example:
//   auto watch = FolderWatch::Create(path, {});
//   while (!stopping) {
//     const auto snapshot = ScanRepository(path);
//     if (snapshot.ok()) (*watch)->Watch(*snapshot);
//     while (!stopping && !(*watch)->WaitForChange(std::chrono::hours(1))) continue;
//   }
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/base/file_descriptor.h"
#include "server/registry/repository.h"

namespace torchd {

class FolderWatch {
 public:
  struct Options {
    bool inotify = true;
    Duration poll_every = std::chrono::seconds(30);
    int folders_max = 100'000;  // Beyond: seen by polling only.
  };

  // Watches nothing but the clock until Watch(). RESOURCE_EXHAUSTED without a file descriptor.
  static absl::StatusOr<std::unique_ptr<FolderWatch>> Create(const std::string& repository,
                                                             Options options);

  // Watches the repository and the folders in `snapshot`, and no longer those of an earlier one. A
  // folder that is new here may have changed before: then the next WaitForChange() returns true.
  void Watch(const RepositorySnapshot& snapshot);

  // True: something may have changed, or `poll_every` has passed since it last returned true.
  // False: `timeout` has passed or Wake() was called, before or during the wait. Several changes
  // count as one.
  bool WaitForChange(Duration timeout);

  // Ends the wait of now, else the next.
  void Wake();

 private:
  FolderWatch(std::string repository, Options options, FileDescriptor wake, FileDescriptor inotify);

  // False when no more folders can be watched.
  bool Add(const std::string& folder, std::set<int>& watched);
  void WatchParent();
  bool ReadEvents();
  bool Means(int number, uint32_t mask, const char* name);
  bool TakeWake();
  void WaitUntil(Instant until);
  void Warn(const std::string& reason);

  const std::string repository_;
  const Options options_;
  const FileDescriptor wake_;
  const FileDescriptor inotify_;  // May be none.
  std::set<int> watched_;         // By inotify's number.
  // The repository's parent, where only the repository's name counts: it may be a link that is
  // moved on, or a folder that is replaced.
  int parent_ = -1;
  std::string name_;
  bool changed_ = false;  // Found out by Watch().
  bool warned_ = false;
  Instant next_poll_;
};

}  // namespace torchd
