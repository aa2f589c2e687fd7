#include "server/classify/caller.h"

#include <optional>

#include "gtest/gtest.h"

namespace torchd {
namespace {

uint64_t At(absl::string_view peer) { return ClientOf(peer, std::nullopt); }

// Whoever opened more connections used to get more turns.
TEST(ClientOfTest, ConnectionsOfOneAddressAreOneClient) {
  EXPECT_EQ(At("ipv4:10.0.0.7:51234"), At("ipv4:10.0.0.7:40000"));
  EXPECT_EQ(At("ipv6:[::1]:51234"), At("ipv6:[::1]:40000"));
  EXPECT_EQ(At("ipv6:%5B::1%5D:51234"), At("ipv6:%5B::1%5D:40000"));
}

TEST(ClientOfTest, AddressesAreDifferentClients) {
  EXPECT_NE(At("ipv4:10.0.0.7:51234"), At("ipv4:10.0.0.8:51234"));
  EXPECT_NE(At("ipv6:[fe80::1]:1"), At("ipv6:[fe80::2]:1"));
  EXPECT_NE(At("unix:/run/a:1"), At("unix:/run/a:2"));
}

TEST(ClientOfTest, NameCountsMoreThanTheAddress) {
  EXPECT_EQ(ClientOf("ipv4:10.0.0.7:1", "batch"), ClientOf("ipv4:10.0.0.8:1", "batch"));
  EXPECT_NE(ClientOf("ipv4:10.0.0.7:1", "batch"), ClientOf("ipv4:10.0.0.7:1", "live"));
}

}  // namespace
}  // namespace torchd
