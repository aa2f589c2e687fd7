#include "server/classify/in_flight_memory.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/batching/refusal.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;

TEST(InFlightMemoryTest, LeasesCountUntilTheyEnd) {
  InFlightMemory memory(100);
  {
    auto lease = memory.Take(1, 30);
    ASSERT_TRUE(lease.ok());
    const InFlightMemory::Lease moved = *std::move(lease);
    EXPECT_EQ(memory.bytes(), 30);
  }
  EXPECT_EQ(memory.bytes(), 0);
}

TEST(InFlightMemoryTest, WhatDoesNotFitIsRefusedUnlessAlone) {
  InFlightMemory memory(100);
  const auto large = memory.Take(1, 200);
  ASSERT_TRUE(large.ok());
  const auto refused = memory.Take(2, 1);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RefusalIn(refused.status()), Refusal::kMemory);
  EXPECT_TRUE(RetryAfter(refused.status()).has_value());
}

// One client used to be able to take it all.
TEST(InFlightMemoryTest, ClientLeavesSomethingToOthers) {
  InFlightMemory memory(1000);
  std::vector<InFlightMemory::Lease> leases;
  const auto fill = [&](uint64_t client) {
    int taken = 0;
    while (true) {
      auto one = memory.Take(client, 10);
      if (!one.ok()) break;
      leases.push_back(*std::move(one));
      ++taken;
    }
    return taken;
  };
  EXPECT_EQ(fill(1), 88);
  const auto refused = memory.Take(1, 10);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("this client's requests hold"));
  EXPECT_EQ(fill(2), 10);
  EXPECT_TRUE(memory.Take(3, 20).ok()) << "a newcomer's first call may take what is left";
}

TEST(InFlightMemoryTest, ClientThatHasEndedIsANewcomer) {
  InFlightMemory memory(100);
  { const auto lease = memory.Take(1, 90); }
  EXPECT_TRUE(memory.Take(1, 90).ok());
}

}  // namespace
}  // namespace torchd
