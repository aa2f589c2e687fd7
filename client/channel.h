// How a channel is opened: addresses, retries, balancing. The functions beside OpenChannel() are
// pure, for tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/include/torchd/client.h"

namespace grpc {
class Channel;
}

namespace torchd {

// gRPC's name for them. INVALID_ARGUMENT where one is not HOST:PORT, or several are not all IPv4 or
// all IPv6: nobody resolves the names of a list.
absl::StatusOr<std::string> TargetOf(const std::vector<std::string>& addresses);

// gRPC's service config in JSON. Only what changes nothing on the server is tried again.
// `watch_backends`: a server that says NOT_SERVING gets no calls while another serves.
std::string ServiceConfig(const ClientOptions& options, bool watch_backends);

// INVALID_ARGUMENT for options out of range. Connects to nobody yet.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ClientOptions& options);

}  // namespace torchd
