#include "client/channel.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace torchd {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

std::string Target(const std::vector<std::string>& addresses) {
  const absl::StatusOr<std::string> target = TargetOf(addresses);
  EXPECT_TRUE(target.ok()) << target.status();
  return target.value_or("");
}

TEST(TargetTest, OneAddressIsItself) {
  EXPECT_EQ(Target({"torchd.example:8001"}), "torchd.example:8001");
  EXPECT_EQ(Target({"[::1]:8001"}), "[::1]:8001");
  EXPECT_EQ(Target({"dns:///torchd.example:8001"}), "dns:///torchd.example:8001");
}

TEST(TargetTest, SeveralAreAListOfOneKind) {
  EXPECT_EQ(Target({"10.0.0.1:1", "10.0.0.2:2"}), "ipv4:10.0.0.1:1,10.0.0.2:2");
  EXPECT_EQ(Target({"[::1]:1", "[::2]:2"}), "ipv6:[::1]:1,[::2]:2");
}

TEST(TargetTest, NobodyResolvesTheNamesOfAList) {
  for (const auto& addresses : std::vector<std::vector<std::string>>{
           {"10.0.0.1:1", "b:2"}, {"a:1", "b:2"}, {"10.0.0.1:1", "[::1]:2"}}) {
    EXPECT_THAT(std::string(TargetOf(addresses).status().message()),
                HasSubstr("all IPv4 or all IPv6"));
  }
}

TEST(TargetTest, RefusesWhatIsNoHostAndPort) {
  for (const char* address : {"", "host", ":1", "host:", "host:0", "host:65536", "::1:9", "h:x"}) {
    const absl::Status status = TargetOf({address}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(std::string(status.message()), HasSubstr(address));
  }
  EXPECT_EQ(TargetOf({}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ServiceConfigTest, RetriesWhatChangesNothing) {
  ClientOptions options;
  options.attempts_max = 3;
  options.pause_first = milliseconds(75);
  options.pause_max = milliseconds(2500);
  const auto config = nlohmann::json::parse(ServiceConfig(options, false));
  const auto& method = config["methodConfig"][0];
  EXPECT_EQ(method["retryPolicy"]["maxAttempts"], 3);
  EXPECT_EQ(method["retryPolicy"]["initialBackoff"], "0.075s");
  EXPECT_EQ(method["retryPolicy"]["maxBackoff"], "2.500s");
  EXPECT_EQ(method["name"].size(), 3);
  EXPECT_EQ(ServiceConfig(options, false).find("LoadModel"), std::string::npos);
  EXPECT_FALSE(config.contains("healthCheckConfig"));
  EXPECT_TRUE(config["loadBalancingConfig"][0].contains("round_robin"));
}

TEST(ServiceConfigTest, OneAttemptIsNoRetry) {
  ClientOptions options;
  options.attempts_max = 1;
  const auto config = nlohmann::json::parse(ServiceConfig(options, true));
  EXPECT_FALSE(config.contains("methodConfig"));
  EXPECT_EQ(config["healthCheckConfig"]["serviceName"], "");
}

TEST(OpenChannelTest, RefusesOptionsOutOfRange) {
  EXPECT_TRUE(OpenChannel({}).ok());
  for (const int attempts : {0, 6}) {
    ClientOptions options;
    options.attempts_max = attempts;
    EXPECT_THAT(std::string(OpenChannel(options).status().message()), HasSubstr("attempts_max"));
  }
  ClientOptions options;
  options.pause_max = milliseconds(1);
  EXPECT_THAT(std::string(OpenChannel(options).status().message()), HasSubstr("pause_first"));
}

}  // namespace
}  // namespace torchd
