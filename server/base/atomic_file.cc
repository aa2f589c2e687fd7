#include "server/base/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "server/base/file_descriptor.h"

namespace torchd {
namespace {

absl::Status Failed(absl::string_view what, const std::string& path) {
  return absl::FailedPreconditionError(
      absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(errno)));
}

absl::Status WriteAndSync(const std::string& path, absl::string_view contents) {
  const FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.get() < 0) return Failed("create", path);
  while (!contents.empty()) {
    const ssize_t wrote = write(file.get(), contents.data(), contents.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return Failed("write", path);
    contents.remove_prefix(static_cast<size_t>(wrote));
  }
  return fsync(file.get()) == 0 ? absl::OkStatus() : Failed("sync", path);
}

absl::Status SyncFolderOf(const std::string& path) {
  std::string folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) folder = ".";
  const FileDescriptor opened(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() < 0 || fsync(opened.get()) != 0) return Failed("sync", folder);
  return absl::OkStatus();
}

}  // namespace

absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents) {
  const std::string temporary = absl::StrCat(path, ".", getpid(), ".tmp");
  absl::Status written = WriteAndSync(temporary, contents);
  if (written.ok() && std::rename(temporary.c_str(), path.c_str()) != 0) {
    written = Failed("rename to", path);
  }
  if (written.ok()) return SyncFolderOf(path);
  std::remove(temporary.c_str());
  return written;
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t bytes_max) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    if (errno == ENOENT) return absl::NotFoundError(absl::StrCat("no file ", path));
    return Failed("open", path);
  }
  std::string contents(bytes_max + 1, '\0');
  size_t size = 0;
  while (size < contents.size()) {
    const ssize_t got = read(file.get(), &contents[size], contents.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("read", path);
    if (got == 0) break;
    size += static_cast<size_t>(got);
  }
  if (size > bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has more than ", bytes_max, " bytes"));
  }
  contents.resize(size);
  return contents;
}

}  // namespace torchd
