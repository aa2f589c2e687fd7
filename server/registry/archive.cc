#include "server/registry/archive.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/base/file_descriptor.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

// The records of the format (PKWARE's APPNOTE.TXT, 4.3): their first bytes and fixed sizes.
constexpr absl::string_view kEndSignature("PK\5\6", 4);
constexpr uint64_t kEndSize = 22;
constexpr uint64_t kCommentSizeMax = 0xffff;
constexpr absl::string_view kLocatorSignature("PK\6\7", 4);
constexpr uint64_t kLocatorSize = 20;
constexpr absl::string_view kEnd64Signature("PK\6\6", 4);
constexpr uint64_t kEnd64Size = 56;
constexpr absl::string_view kEntrySignature("PK\1\2", 4);
constexpr uint64_t kEntrySize = 46;

// Where the list of entries lies.
struct Directory {
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t end = 0;  // Where the records about it start, which it may not reach into.
};

struct File {
  const std::string& path;
  int fd;
  uint64_t size;
};

// Little-endian. `at` + `bytes` lies within `record`.
uint64_t Number(absl::string_view record, size_t at, size_t bytes) {
  uint64_t number = 0;
  for (size_t i = bytes; i-- > 0;) number = number << 8 | static_cast<uint8_t>(record.at(at + i));
  return number;
}

bool StartsWith(absl::string_view record, absl::string_view signature) {
  return record.substr(0, signature.size()) == signature;
}

absl::Status Incomplete(const File& file, absl::string_view what) {
  return absl::FailedPreconditionError(absl::StrCat(file.path, " (", file.size,
                                                    " bytes) is no whole archive: ", what,
                                                    "; is it still being copied?"));
}

// Exactly `size` bytes; an error where the file has fewer.
absl::StatusOr<std::string> ReadAt(const File& file, uint64_t offset, uint64_t size) {
  if (offset > file.size || size > file.size - offset) {
    return Incomplete(file, "a record lies beyond its end");
  }
  std::string bytes(size, '\0');
  for (uint64_t done = 0; done < size;) {
    const ssize_t count =
        ::pread(file.fd, bytes.data() + done, size - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return absl::FailedPreconditionError(
          absl::StrCat("cannot read ", file.path, ": ", strerror(errno)));
    }
    if (count == 0) return Incomplete(file, "it shrank while it was read");
    done += static_cast<uint64_t>(count);
  }
  return bytes;
}

// Where the last record starts. A comment may follow it.
absl::StatusOr<uint64_t> FindEnd(const File& file) {
  const uint64_t searched = std::min(file.size, kEndSize + kCommentSizeMax);
  TORCHD_ASSIGN_OR_RETURN(const std::string tail, ReadAt(file, file.size - searched, searched));
  for (size_t at = tail.size() < kEndSize ? 0 : tail.size() - kEndSize + 1; at-- > 0;) {
    const absl::string_view record = absl::string_view(tail).substr(at);
    if (StartsWith(record, kEndSignature) && Number(record, 20, 2) <= record.size() - kEndSize) {
      return file.size - searched + at;
    }
  }
  return Incomplete(file, "its last record is missing");
}

// What the last record says where it has room for it; "see the other" where it does not.
bool Agree(absl::string_view end, absl::string_view end64) {
  constexpr struct {
    size_t at, bytes, at64;
  } kFields[] = {{8, 2, 24}, {10, 2, 32}, {12, 4, 40}, {16, 4, 48}};
  return std::all_of(std::begin(kFields), std::end(kFields), [&](const auto& field) {
    const uint64_t number = Number(end, field.at, field.bytes);
    return number == (uint64_t{1} << (8 * field.bytes)) - 1 ||
           number == Number(end64, field.at64, 8);
  });
}

// From the record at `end` or, where there is one, from the 64-bit record that it stands for.
absl::StatusOr<Directory> FindDirectory(const File& file, uint64_t end) {
  TORCHD_ASSIGN_OR_RETURN(const std::string record, ReadAt(file, end, kEndSize));
  const Directory small = {Number(record, 16, 4), Number(record, 12, 4), end};
  if (end < kLocatorSize) return small;
  TORCHD_ASSIGN_OR_RETURN(const std::string locator,
                          ReadAt(file, end - kLocatorSize, kLocatorSize));
  if (!StartsWith(locator, kLocatorSignature)) return small;
  const uint64_t at = Number(locator, 8, 8);
  TORCHD_ASSIGN_OR_RETURN(const std::string end64, ReadAt(file, at, kEnd64Size));
  if (!StartsWith(end64, kEnd64Signature) || !Agree(record, end64)) {
    return Incomplete(file, "its 64-bit record is missing");
  }
  return Directory{Number(end64, 48, 8), Number(end64, 40, 8), at};
}

absl::Status CheckDirectory(const File& file, const Directory& directory) {
  if (directory.size < kEntrySize) return Incomplete(file, "it has no entries");
  if (directory.offset > directory.end || directory.size > directory.end - directory.offset) {
    return Incomplete(file, "its list of entries lies beyond its end");
  }
  TORCHD_ASSIGN_OR_RETURN(const std::string entry, ReadAt(file, directory.offset, kEntrySize));
  if (!StartsWith(entry, kEntrySignature)) {
    return Incomplete(file, "its list of entries is missing");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckArchive(const std::string& path) {
  // Does not wait for the other end of a FIFO.
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat stat = {};
  if (!fd.ok() || ::fstat(fd.get(), &stat) != 0) {
    if (errno == ENOENT) return absl::NotFoundError(absl::StrCat("no model file ", path));
    return absl::FailedPreconditionError(absl::StrCat("cannot read ", path, ": ", strerror(errno)));
  }
  if (!S_ISREG(stat.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a file"));
  }
  const File file = {path, fd.get(), static_cast<uint64_t>(stat.st_size)};
  TORCHD_ASSIGN_OR_RETURN(const uint64_t end, FindEnd(file));
  TORCHD_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(file, end));
  return CheckDirectory(file, directory);
}

}  // namespace torchd
