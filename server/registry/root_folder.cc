#include "server/registry/root_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

struct Free {
  void operator()(char* text) const { std::free(text); }
};
struct CloseFolder {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

// Empty and errno when the path does not lead to anything.
std::string RealPath(const std::string& path) {
  const std::unique_ptr<char, Free> real(::realpath(path.c_str(), nullptr));
  return real == nullptr ? "" : real.get();
}

bool IsInside(absl::string_view path, absl::string_view folder) {
  return path == folder || folder == "/" ||
         (absl::ConsumePrefix(&path, folder) && absl::StartsWith(path, "/"));
}

// `path` is inside `folder`.
std::string Below(absl::string_view path, absl::string_view folder) {
  path.remove_prefix(std::min(folder.size(), path.size()));
  while (absl::ConsumePrefix(&path, "/")) continue;
  return std::string(path);
}

std::string Join(const std::string& folder, const std::string& below) {
  if (below.empty()) return folder;
  return absl::StrCat(folder == "/" ? "" : folder, "/", below);
}

FileDescriptor OpenAt2(int folder, const char* path, int flags) {
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return FileDescriptor(static_cast<int>(::syscall(SYS_openat2, folder, path, &how, sizeof(how))));
}

absl::Status CannotRead(const std::string& path, int error) {
  return absl::FailedPreconditionError(absl::StrCat("cannot read ", path, ": ", strerror(error)));
}

absl::Status NotFound(const std::string& path) {
  return absl::NotFoundError(absl::StrCat("no ", path));
}

// Why RealPath(`plain`) failed with `error`; `path` is what people call it.
absl::Status Unresolved(const std::string& path, const std::string& plain, int error) {
  struct stat stat = {};
  if (error == ELOOP) {
    return absl::InvalidArgumentError(absl::StrCat("the link ", path, " leads in circles"));
  }
  if (error != ENOENT && error != ENOTDIR) return CannotRead(path, error);
  if (::lstat(plain.c_str(), &stat) == 0 && S_ISLNK(stat.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("the link ", path, " leads nowhere"));
  }
  return NotFound(path);
}

const char* KindOf(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

absl::Status CheckIsFile(const std::string& path, mode_t mode) {
  if (S_ISREG(mode)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, " is ", KindOf(mode), ", not a file"));
}

// Reads one byte beyond `bytes_max` at most: a file may grow while it is read.
absl::StatusOr<std::string> ReadToEnd(int fd, const std::string& path, int64_t bytes_max) {
  std::string contents;
  char buffer[64 * 1024];
  for (;;) {
    const ssize_t count = ::read(fd, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return CannotRead(path, errno);
    if (count == 0) return contents;
    contents.append(buffer, static_cast<size_t>(count));
    if (static_cast<int64_t>(contents.size()) > bytes_max) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " has more than ", bytes_max, " bytes; at most that"));
    }
  }
}

}  // namespace

absl::StatusOr<RootFolder> RootFolder::Open(const std::string& path, Opening opening) {
  RootFolder root;
  root.path_ = path;
  while (root.path_.size() > 1 && root.path_.back() == '/') root.path_.pop_back();
  root.real_path_ = path.empty() ? "" : RealPath(path);
  root.fd_ = FileDescriptor(
      ::open(root.real_path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!root.fd_.ok()) {
    return absl::NotFoundError(absl::StrCat("model_repository '", path, "' is no folder"));
  }
  // Old kernels do not know the call, and some sandboxes forbid it.
  root.has_openat2_ = opening == Opening::kBestKnown &&
                      OpenAt2(root.fd_.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC).ok();
  return root;
}

FileDescriptor RootFolder::OpenStepByStep(const std::string& relative, int flags) const {
  FileDescriptor at(::openat(fd_.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  const std::vector<std::string> steps = absl::StrSplit(relative, '/');
  for (size_t i = 0; i + 1 < steps.size() && at.ok(); ++i) {
    at = FileDescriptor(
        ::openat(at.get(), steps[i].c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  }
  if (!at.ok()) return at;
  FileDescriptor last(::openat(at.get(), steps.back().c_str(), flags | O_NOFOLLOW));
  struct stat stat = {};
  if (!last.ok() || ::fstat(last.get(), &stat) != 0) return FileDescriptor();
  if (S_ISLNK(stat.st_mode)) {  // O_PATH opens the link itself.
    errno = ELOOP;
    return FileDescriptor();
  }
  return last;
}

FileDescriptor RootFolder::OpenWithoutLinks(const std::string& relative, int flags) const {
  const std::string path = relative.empty() ? "." : relative;
  if (absl::StrContains(absl::StrCat("/", path, "/"), "/../")) {
    errno = EXDEV;  // A step up may leave the root; realpath() tells.
    return FileDescriptor();
  }
  return has_openat2_ ? OpenAt2(fd_.get(), path.c_str(), flags) : OpenStepByStep(path, flags);
}

absl::StatusOr<RootFolder::Opened> RootFolder::OpenInside(const std::string& path,
                                                          int flags) const {
  if (!IsInside(path, path_)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " does not lie in the repository ", path_));
  }
  const std::string plain = Join(real_path_, Below(path, path_));
  Opened opened;
  opened.real_path = plain;
  opened.fd = OpenWithoutLinks(Below(plain, real_path_), flags);
  if (opened.fd.ok()) return opened;           // No link on the way: the usual case.
  if (errno == ENOENT) return NotFound(path);  // Nor here; a link would be another error.
  opened.real_path = RealPath(plain);
  if (opened.real_path.empty()) return Unresolved(path, plain, errno);
  if (!IsInside(opened.real_path, real_path_)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the link ", path, " leads out of the repository ", path_));
  }
  opened.fd = OpenWithoutLinks(Below(opened.real_path, real_path_), flags);
  if (opened.fd.ok()) return opened;
  if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) {
    return absl::UnavailableError(absl::StrCat(path, " changed while it was opened"));
  }
  return CannotRead(path, errno);
}

absl::StatusOr<RootFolder::Entry> RootFolder::Look(const std::string& path) const {
  TORCHD_ASSIGN_OR_RETURN(Opened opened, OpenInside(path, O_PATH | O_CLOEXEC));
  Entry entry;
  entry.real_path = std::move(opened.real_path);
  if (::fstat(opened.fd.get(), &entry.stat) != 0) return CannotRead(path, errno);
  return entry;
}

absl::StatusOr<RootFolder::Entry> RootFolder::LookAtFile(const std::string& path) const {
  TORCHD_ASSIGN_OR_RETURN(Entry entry, Look(path));
  TORCHD_RETURN_IF_ERROR(CheckIsFile(path, entry.stat.st_mode));
  return entry;
}

absl::StatusOr<std::vector<std::string>> RootFolder::List(const std::string& path) const {
  TORCHD_ASSIGN_OR_RETURN(Opened opened, OpenInside(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, CloseFolder> folder(::fdopendir(opened.fd.get()));
  if (folder == nullptr) return CannotRead(path, errno);
  static_cast<void>(opened.fd.Release());  // The stream has it now.
  std::vector<std::string> names;
  errno = 0;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): each stream has one thread.
  for (const dirent* entry = ::readdir(folder.get()); entry != nullptr;
       entry = ::readdir(folder.get())) {
    if (entry->d_name[0] == '.') continue;
    if (names.size() == kNamesMax) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the folder ", path, " has more than ", kNamesMax, " names; at most that"));
    }
    names.emplace_back(entry->d_name);
    errno = 0;
  }
  if (errno != 0) return CannotRead(path, errno);
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<std::string> RootFolder::Read(const std::string& path, int64_t bytes_max) const {
  // Looked at first: opening a device may already do something.
  TORCHD_RETURN_IF_ERROR(LookAtFile(path).status());
  TORCHD_ASSIGN_OR_RETURN(const Opened opened,
                          OpenInside(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat stat = {};
  if (::fstat(opened.fd.get(), &stat) != 0) return CannotRead(path, errno);
  TORCHD_RETURN_IF_ERROR(CheckIsFile(path, stat.st_mode));
  if (stat.st_size > bytes_max) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has ", stat.st_size, " bytes; at most ", bytes_max));
  }
  return ReadToEnd(opened.fd.get(), path, bytes_max);
}

}  // namespace torchd
