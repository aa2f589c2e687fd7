// Owns a file descriptor and closes it.
//
// Thread-safety: none. Move-only.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace torchd {

class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}  // Negative: none.
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~FileDescriptor() { Reset(); }

  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

  // Closes what it has, takes `fd`.
  void Reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

  // The caller closes it.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }

  // Another descriptor of the same open file, closed on exec; none when there is none left.
  FileDescriptor Duplicate() const { return FileDescriptor(::fcntl(fd_, F_DUPFD_CLOEXEC, 3)); }

 private:
  int fd_ = -1;
};

}  // namespace torchd
