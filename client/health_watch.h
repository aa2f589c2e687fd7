// The client library's HealthWatch over a channel.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "client/include/torchd/client.h"

namespace grpc {
class Channel;
}

namespace torchd {

// As Client::WatchHealth(). It keeps the channel.
std::unique_ptr<HealthWatch> WatchHealthOver(std::shared_ptr<grpc::Channel> channel,
                                             const std::string& service,
                                             std::function<void(Health)> changed);

}  // namespace torchd
