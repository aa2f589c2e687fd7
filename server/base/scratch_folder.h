// A folder under TMPDIR for files that nobody needs after a while. Its lock tells a folder in use
// from one whose process was killed, so that such leftovers can be removed.
//
// Thread-safety: functions; a folder has one owner. The lock is the kernel's (flock() on the
// folder), so it ends with its process however that ends. Where a file system has no such locks,
// nothing is ever taken for a leftover.
#pragma once

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/base/file_descriptor.h"

namespace torchd {

// Removed with all in it by its destructor. Move-only.
class ScratchFolder {
 public:
  // FAILED_PRECONDITION, naming TMPDIR or the folder, when none can be made.
  static absl::StatusOr<ScratchFolder> Make();

  ScratchFolder(ScratchFolder&& other) noexcept
      : lock_(std::move(other.lock_)), path_(std::exchange(other.path_, "")) {}
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ~ScratchFolder();

  const std::string& path() const { return path_; }

 private:
  ScratchFolder(FileDescriptor lock, std::string path)
      : lock_(std::move(lock)), path_(std::move(path)) {}

  FileDescriptor lock_;
  std::string path_;  // Empty once it was moved from.
};

// Removes the scratch folders of this user, from whatever process, that nobody holds any more.
// Returns how many those were.
int RemoveAbandonedScratch();

}  // namespace torchd
