#include "client/channel.h"

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace torchd {
namespace {

constexpr int kAttemptsMax = 5;  // gRPC makes no more.

// 64 items of 1000 classes with long labels pass gRPC's usual 4 MiB.
constexpr int kAnswerBytesMax = 64 * 1024 * 1024;

// A call is tried again only while gRPC still holds what was sent.
constexpr int kRetryBytesMax = 64 * 1024 * 1024 + 4096;

// Without its port. Empty where `address` is not HOST:PORT.
std::string HostOf(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  // A bare IPv6 address has colons of its own, so it needs brackets.
  const bool ok = colon != std::string::npos && colon > 0 &&
                  (address.find(':') == colon || (address[0] == '[' && address[colon - 1] == ']'));
  if (!ok || !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 || port > 65'535) {
    return "";
  }
  return address.substr(0, colon);
}

// "ipv4", "ipv6" or, for a name, empty.
std::string KindOf(absl::string_view host) {
  in6_addr parsed;
  const std::string text(absl::StripSuffix(absl::StripPrefix(host, "["), "]"));
  if (inet_pton(AF_INET, text.c_str(), &parsed) == 1) return "ipv4";
  return inet_pton(AF_INET6, text.c_str(), &parsed) == 1 ? "ipv6" : "";
}

std::string Seconds(std::chrono::milliseconds time) {
  return absl::StrFormat("\"%d.%03ds\"", time.count() / 1000, time.count() % 1000);
}

absl::Status CheckOptions(const ClientOptions& options) {
  if (options.attempts_max < 1 || options.attempts_max > kAttemptsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("attempts_max is ", options.attempts_max, "; expected 1 to ", kAttemptsMax));
  }
  if (options.pause_first.count() < 1 || options.pause_max < options.pause_first) {
    return absl::InvalidArgumentError(absl::StrCat("pause_first is ", options.pause_first.count(),
                                                   " ms and pause_max ", options.pause_max.count(),
                                                   " ms; expected 1 <= pause_first <= pause_max"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> TargetOf(const std::vector<std::string>& addresses) {
  if (addresses.empty()) return absl::InvalidArgumentError("no address; expected HOST:PORT");
  std::string kind;
  for (const std::string& address : addresses) {
    const std::string host = HostOf(
        addresses.size() == 1 ? std::string(absl::StripPrefix(address, "dns:///")) : address);
    if (host.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("address '", address, "'; expected HOST:PORT with a port of 1 to 65535"));
    }
    const std::string this_kind = KindOf(host);
    if (addresses.size() > 1 && (this_kind.empty() || (!kind.empty() && kind != this_kind))) {
      return absl::InvalidArgumentError(
          absl::StrCat("addresses ", absl::StrJoin(addresses, ","),
                       "; several have to be all IPv4 or all IPv6, or one name that stands for all "
                       "of them, as dns:///NAME:PORT"));
    }
    kind = this_kind;
  }
  if (addresses.size() == 1) return addresses[0];
  return absl::StrCat(kind, ":", absl::StrJoin(addresses, ","));
}

std::string ServiceConfig(const ClientOptions& options, bool watch_backends) {
  std::string config = R"({"loadBalancingConfig":[{"round_robin":{}}])";
  if (watch_backends) absl::StrAppend(&config, R"(,"healthCheckConfig":{"serviceName":""})");
  if (options.attempts_max > 1) {
    absl::StrAppend(&config, R"(,"methodConfig":[{"name":[)",
                    R"({"service":"torchd.v1.InferenceService","method":"Classify"},)",
                    R"({"service":"torchd.v1.AdminService","method":"ListModels"},)",
                    R"({"service":"torchd.v1.AdminService","method":"GetServerStatus"}],)",
                    R"("retryPolicy":{"maxAttempts":)", options.attempts_max,
                    R"(,"initialBackoff":)", Seconds(options.pause_first), R"(,"maxBackoff":)",
                    Seconds(options.pause_max), R"(,"backoffMultiplier":2,)",
                    R"("retryableStatusCodes":["UNAVAILABLE","RESOURCE_EXHAUSTED"]}}])");
    // Where most calls fail, retries would only add to the load.
    absl::StrAppend(&config, R"(,"retryThrottling":{"maxTokens":100,"tokenRatio":0.5})");
  }
  return config + "}";
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenChannel(const ClientOptions& options) {
  absl::Status checked = CheckOptions(options);
  if (!checked.ok()) return checked;
  absl::StatusOr<std::string> target = TargetOf(options.addresses);
  if (!target.ok()) return target.status();
  const bool several = options.addresses.size() > 1 || absl::StartsWith(*target, "dns:");
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(ServiceConfig(options, several));
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, options.attempts_max > 1 ? 1 : 0);
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, kRetryBytesMax);
  arguments.SetMaxReceiveMessageSize(kAnswerBytesMax);
  // Proxies from the environment are not used: a torchd is a neighbour.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(*target, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace torchd
