#include "server/daemon/address_file.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace torchd {

absl::Status WriteAddressFile(const std::string& path, const Addresses& addresses) {
  const std::string temporary = absl::StrCat(path, ".", getpid(), ".tmp");
  std::ofstream file(temporary);
  file << "{\"grpc\": \"" << addresses.grpc << "\", \"http\": \"" << addresses.http << "\"}\n";
  file.close();
  if (!file || std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::remove(temporary.c_str());
    return absl::FailedPreconditionError(absl::StrCat("cannot write address_file '", path, "'"));
  }
  return absl::OkStatus();
}

}  // namespace torchd
