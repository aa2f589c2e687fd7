// A folder that is read from, and nothing outside it: a link is followed only where its real path
// stays inside. Private to the folder `registry`.
//
// The check and the opening are one: what is opened is opened by its real path, relative to the
// root's descriptor and without following a link (openat2 where the kernel has it, else one folder
// after another). A link that is put in place meanwhile fails; it is never followed.
//
// Thread-safety: const methods. Paths are full: `path()` or, below it, `path()`/...
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/base/file_descriptor.h"

namespace torchd {

class RootFolder {
 public:
  enum class Opening { kBestKnown, kPortable };  // kPortable: as on a kernel without openat2.

  // What lies at a path.
  struct Entry {
    std::string real_path;  // Free of links, inside the root.
    struct stat stat = {};  // Of the file or folder itself, not of a link to it.
    bool is_file() const { return S_ISREG(stat.st_mode); }
    bool is_folder() const { return S_ISDIR(stat.st_mode); }
  };

  static constexpr int kNamesMax = 100'000;

  // NOT_FOUND unless `path` is a folder. It may be a link itself.
  static absl::StatusOr<RootFolder> Open(const std::string& path,
                                         Opening opening = Opening::kBestKnown);

  // As given to Open(), without a slash at the end.
  const std::string& path() const { return path_; }
  const std::string& real_path() const { return real_path_; }

  // NOT_FOUND: nothing there. INVALID_ARGUMENT: a link that leaves the root, leads nowhere or in
  // circles. Opens no file, so a FIFO or a device is merely looked at.
  absl::StatusOr<Entry> Look(const std::string& path) const;

  // As Look(), and INVALID_ARGUMENT unless it is a file.
  absl::StatusOr<Entry> LookAtFile(const std::string& path) const;

  // The names in a folder, sorted, without those that start with a dot; at most kNamesMax.
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) const;

  // The contents of a file of at most `bytes_max`. Never waits for a FIFO.
  absl::StatusOr<std::string> Read(const std::string& path, int64_t bytes_max) const;

 private:
  struct Opened {
    FileDescriptor fd;
    std::string real_path;
  };

  RootFolder() = default;

  absl::StatusOr<Opened> OpenInside(const std::string& path, int flags) const;
  // By a path relative to the root that holds no link; none, and errno, where it does.
  FileDescriptor OpenWithoutLinks(const std::string& relative, int flags) const;
  FileDescriptor OpenStepByStep(const std::string& relative, int flags) const;

  std::string path_;
  std::string real_path_;
  FileDescriptor fd_;
  bool has_openat2_ = false;
};

}  // namespace torchd
