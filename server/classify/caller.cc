#include "server/classify/caller.h"

#include "absl/hash/hash.h"
#include "absl/strings/match.h"

namespace torchd {

uint64_t ClientOf(absl::string_view peer, std::optional<absl::string_view> named) {
  if (named) return absl::HashOf(*named);
  const bool has_port = absl::StartsWith(peer, "ipv4:") || absl::StartsWith(peer, "ipv6:");
  return absl::HashOf(has_port ? peer.substr(0, peer.rfind(':')) : peer);
}

}  // namespace torchd
