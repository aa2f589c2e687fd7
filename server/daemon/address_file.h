// Tells scripts where the daemon listens.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace torchd {

struct Addresses {
  std::string grpc;
  std::string http;
};

// Removes what an earlier process left, so that a script never reads ports that are gone. An error
// when the file cannot be written: better now than after the models are loaded.
absl::Status PrepareAddressFile(const std::string& path);

// Writes {"grpc": "127.0.0.1:PORT", "http": "127.0.0.1:PORT"}: to a temporary file beside `path`,
// then renamed, so that whoever sees the file sees all of it.
absl::Status WriteAddressFile(const std::string& path, const Addresses& addresses);

}  // namespace torchd
