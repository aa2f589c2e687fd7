#include "bench/phases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace torchd::bench {
namespace {

using testing::HasSubstr;

TEST(PhasesTest, AreRatesForSeconds) {
  const auto phases = ParsePhases("100x5,0x0.5,2.5x60");
  ASSERT_TRUE(phases.ok()) << phases.status();
  ASSERT_EQ(phases->size(), 3);
  EXPECT_EQ((*phases)[0].per_second, 100);
  EXPECT_EQ((*phases)[0].seconds, 5);
  EXPECT_EQ((*phases)[1].per_second, 0);
  EXPECT_EQ((*phases)[1].seconds, 0.5);
  EXPECT_EQ((*phases)[2].per_second, 2.5);
}

TEST(PhasesTest, WrongOnesAreRefusedByNumberAndText) {
  for (const std::string wrong : {"", "100", "x5", "100x", "100x0", "-1x5", "nanx5", "100xinf",
                                  "100x3601", "1000001x1", "1x2x3", "100 per 5"}) {
    const auto phases = ParsePhases("1x1," + wrong);
    ASSERT_FALSE(phases.ok()) << wrong;
    EXPECT_THAT(std::string(phases.status().message()), HasSubstr("phase 2 is '" + wrong + "'"));
  }
}

TEST(PhasesTest, ThePlanHasALimit) {
  EXPECT_TRUE(ParsePhases("5000x1000").ok());
  EXPECT_THAT(std::string(ParsePhases("5000x1000,1x1").status().message()), HasSubstr("at most"));
}

}  // namespace
}  // namespace torchd::bench
