#include "server/base/scratch_folder.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

constexpr char kPrefix[] = "torchd-pt2-";
constexpr int kAttempts = 100;  // Somebody takes a new folder for a leftover; again and again?

absl::StatusOr<std::filesystem::path> Tmpdir() {
  std::error_code error;
  std::filesystem::path folder = std::filesystem::temp_directory_path(error);
  if (!error) return folder;
  return absl::FailedPreconditionError(absl::StrCat("TMPDIR is not a folder: ", error.message()));
}

FileDescriptor OpenFolder(const std::string& path) {
  return FileDescriptor(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

// Between its making and its lock somebody may have taken the folder for a leftover.
bool StillThere(int folder, const std::string& path) {
  struct stat held = {};
  struct stat named = {};
  return fstat(folder, &held) == 0 && lstat(path.c_str(), &named) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

// False when its process lives, when it is not ours, or when nobody can tell.
bool RemoveIfAbandoned(const std::string& path) {
  const FileDescriptor folder = OpenFolder(path);
  struct stat found = {};
  if (!folder.ok() || fstat(folder.get(), &found) != 0 || found.st_uid != geteuid()) return false;
  if (flock(folder.get(), LOCK_EX | LOCK_NB) != 0) return false;
  std::error_code error;
  std::filesystem::remove_all(path, error);
  return !error;
}

}  // namespace

absl::StatusOr<ScratchFolder> ScratchFolder::Make() {
  TORCHD_ASSIGN_OR_RETURN(const std::filesystem::path tmpdir, Tmpdir());
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::string path = (tmpdir / absl::StrCat(kPrefix, "XXXXXX")).string();
    if (mkdtemp(path.data()) == nullptr) {
      return absl::FailedPreconditionError(
          absl::StrCat("cannot make a folder ", path, ": ", std::strerror(errno)));
    }
    FileDescriptor lock = OpenFolder(path);
    if (!lock.ok()) continue;
    // A file system without such locks keeps the folder safe as well: nobody gets the lock.
    flock(lock.get(), LOCK_EX);
    if (StillThere(lock.get(), path)) return ScratchFolder(std::move(lock), std::move(path));
  }
  return absl::FailedPreconditionError(
      absl::StrCat("every new folder in ", tmpdir.string(), " is gone at once"));
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;  // A folder that stays costs disk, nothing else.
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

int RemoveAbandonedScratch() {
  const auto tmpdir = Tmpdir();
  if (!tmpdir.ok()) return 0;
  std::vector<std::string> candidates;
  std::error_code error;
  std::filesystem::directory_iterator entry(*tmpdir, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    const std::string name = entry->path().filename().string();
    if (absl::StartsWith(name, kPrefix)) candidates.push_back(entry->path().string());
    entry.increment(error);
  }
  int removed = 0;
  for (const std::string& path : candidates) removed += RemoveIfAbandoned(path) ? 1 : 0;
  return removed;
}

}  // namespace torchd
