#include "server/registry/sealed_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

constexpr int kSeals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

absl::Status Failed(absl::string_view what, const std::string& path) {
  const std::string message = absl::StrCat("cannot ", what, " ", path, ": ", std::strerror(errno));
  return errno == ENOENT ? absl::NotFoundError(message) : absl::FailedPreconditionError(message);
}

absl::StatusOr<FileDescriptor> Memory(const std::string& path) {
  const FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat found = {};
  if (!file.ok() || fstat(file.get(), &found) != 0) return Failed("open", path);
  if (!S_ISREG(found.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is no file"));
  }
  FileDescriptor memory(memfd_create("model", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory.ok()) return Failed("take memory for", path);
  ssize_t sent = 1;
  while (sent > 0) {
    sent = sendfile(memory.get(), file.get(), nullptr, size_t{1} << 30);
    if (sent < 0 && errno == EINTR) sent = 1;
  }
  if (sent < 0 || fcntl(memory.get(), F_ADD_SEALS, kSeals) != 0) return Failed("read", path);
  return memory;
}

}  // namespace

absl::StatusOr<SealedFile> SealedFile::Copy(const std::string& path) {
  TORCHD_ASSIGN_OR_RETURN(FileDescriptor memory, Memory(path));
  // By the process's number, since its trials open it, too.
  std::string open_path = absl::StrCat("/proc/", getpid(), "/fd/", memory.get());
  if (!absl::EndsWith(path, ".pt2")) {
    return SealedFile(std::move(memory), std::move(open_path), std::nullopt);
  }
  TORCHD_ASSIGN_OR_RETURN(ScratchFolder folder, ScratchFolder::Make());
  const std::string link = absl::StrCat(folder.path(), "/model.pt2");
  SealedFile sealed(std::move(memory), link, std::move(folder));
  if (symlink(open_path.c_str(), link.c_str()) != 0) return Failed("link", link);
  return sealed;
}

}  // namespace torchd
