#include "bench/quantiles.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace torchd::bench {
namespace {

TEST(QuantilesTest, AreMeasuredValuesAtTheirRank) {
  std::vector<double> values(1000);
  std::iota(values.begin(), values.end(), 1);
  std::shuffle(values.begin(), values.end(), std::mt19937(1));
  const Summary summary = Summarise(values);
  EXPECT_EQ(summary.count, 1000);
  EXPECT_EQ(summary.p50, 500);
  EXPECT_EQ(summary.p90, 900);
  EXPECT_EQ(summary.p99, 990);
  EXPECT_EQ(summary.p99_9, 999);
  EXPECT_EQ(summary.max, 1000);
  EXPECT_DOUBLE_EQ(summary.mean, 500.5);
}

// 0.9 * 10 and the like are not whole in binary; the rank must not slip by one.
TEST(QuantilesTest, RoundingDoesNotMoveTheRank) {
  for (int count = 10; count <= 5000; count += 10) {
    std::vector<double> values(count);
    std::iota(values.begin(), values.end(), 1);
    EXPECT_EQ(Quantile(values, 0.9), count / 10 * 9) << count;
  }
}

TEST(QuantilesTest, OneValueIsEveryQuantile) {
  const Summary summary = Summarise({7});
  EXPECT_EQ(summary.p50, 7);
  EXPECT_EQ(summary.p99_9, 7);
  EXPECT_EQ(summary.mean, 7);
}

TEST(QuantilesTest, NothingHasNoQuantiles) { EXPECT_EQ(Summarise({}).count, 0); }

}  // namespace
}  // namespace torchd::bench
