// A file's bytes as they are now. Whoever reads them later sees the same, whatever becomes of the
// file: what was tried is what is loaded.
//
// Thread-safety: none; one owner. The bytes are in memory as long as it lives.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/base/file_descriptor.h"
#include "server/base/scratch_folder.h"

namespace torchd {

class SealedFile {
 public:
  // NOT_FOUND without the file; other errors name it.
  static absl::StatusOr<SealedFile> Copy(const std::string& path);

  SealedFile(SealedFile&& other) noexcept
      : memory_(std::move(other.memory_)),
        path_(std::move(other.path_)),
        folder_(std::move(other.folder_)) {}
  SealedFile& operator=(SealedFile&&) = delete;
  ~SealedFile() = default;

  // Where this process and its trials open the bytes. Ends with ".pt2" where the original does.
  const std::string& path() const { return path_; }

 private:
  SealedFile(FileDescriptor memory, std::string path, std::optional<ScratchFolder> folder)
      : memory_(std::move(memory)), path_(std::move(path)), folder_(std::move(folder)) {}

  FileDescriptor memory_;
  std::string path_;
  std::optional<ScratchFolder> folder_;  // With a link in it; none where none was needed.
};

}  // namespace torchd
