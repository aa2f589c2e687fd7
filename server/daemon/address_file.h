// Tells scripts where the daemon listens.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace torchd {

struct Addresses {
  std::string grpc;
  std::string http;
};

// Writes {"grpc": "127.0.0.1:PORT", "http": "127.0.0.1:PORT"}: to a temporary file beside `path`,
// then renamed, so that whoever sees the file sees all of it.
absl::Status WriteAddressFile(const std::string& path, const Addresses& addresses);

}  // namespace torchd
