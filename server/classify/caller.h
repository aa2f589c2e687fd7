// Who calls, for those who share a queue.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace torchd {

// The same number for the same caller: by the name it gives itself, else by the address it calls
// from; its port, which each connection has its own of, does not count. `peer` is as gRPC has it:
// "ipv4:10.0.0.7:51234", "ipv6:[::1]:51234" (the brackets perhaps as %5B and %5D), "unix:/path".
uint64_t ClientOf(absl::string_view peer, std::optional<absl::string_view> named);

}  // namespace torchd
