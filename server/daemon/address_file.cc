#include "server/daemon/address_file.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace torchd {

namespace {

std::string TemporaryBeside(const std::string& path) {
  return absl::StrCat(path, ".", getpid(), ".tmp");
}

absl::Status CannotWrite(const std::string& path) {
  return absl::FailedPreconditionError(absl::StrCat("cannot write address_file '", path, "'"));
}

}  // namespace

absl::Status PrepareAddressFile(const std::string& path) {
  const std::string temporary = TemporaryBeside(path);
  const bool writable = std::ofstream(temporary).good();
  std::remove(temporary.c_str());
  std::error_code ignored;
  if (!writable || std::filesystem::is_directory(path, ignored)) return CannotWrite(path);
  std::remove(path.c_str());
  return absl::OkStatus();
}

absl::Status WriteAddressFile(const std::string& path, const Addresses& addresses) {
  const std::string temporary = TemporaryBeside(path);
  std::ofstream file(temporary);
  file << "{\"grpc\": \"" << addresses.grpc << "\", \"http\": \"" << addresses.http << "\"}\n";
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::remove(temporary.c_str());
    return CannotWrite(path);
  }
  return absl::OkStatus();
}

}  // namespace torchd
