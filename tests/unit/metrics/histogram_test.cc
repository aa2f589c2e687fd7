#include "server/metrics/histogram.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <thread>
#include <vector>

namespace torchd {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""ns;
using std::chrono_literals::operator""us;
using std::chrono_literals::operator""s;

// The number of observations in the bucket itself, not below it.
std::uint64_t CountIn(const prometheus::ClientMetric::Histogram& histogram, std::size_t bucket) {
  const std::uint64_t below = bucket == 0 ? 0 : histogram.bucket[bucket - 1].cumulative_count;
  return histogram.bucket.at(bucket).cumulative_count - below;
}

TEST(LatencyHistogramTest, HasFiveBucketsPerDecadeFromTenMicrosecondsToHundredSeconds) {
  const auto histogram = LatencyHistogram().Read();
  ASSERT_EQ(histogram.bucket.size(), 37u);
  for (std::size_t i = 0; i < 36; ++i) {
    const double exact = std::pow(10, -5 + static_cast<double>(i) / 5);
    EXPECT_NEAR(histogram.bucket[i].upper_bound / exact, 1, 0.02) << "bucket " << i;
  }
  EXPECT_DOUBLE_EQ(histogram.bucket[0].upper_bound, 1e-5);
  EXPECT_DOUBLE_EQ(histogram.bucket[35].upper_bound, 100);
  EXPECT_TRUE(std::isinf(histogram.bucket[36].upper_bound));
}

TEST(LatencyHistogramTest, ABoundBelongsToItsOwnBucket) {
  LatencyHistogram histogram;
  histogram.Observe(10us);
  histogram.Observe(10us + 1ns);
  const auto read = histogram.Read();
  EXPECT_EQ(CountIn(read, 0), 1u);
  EXPECT_EQ(CountIn(read, 1), 1u);
}

TEST(LatencyHistogramTest, SumIsInSeconds) {
  LatencyHistogram histogram;
  histogram.Observe(250ms);
  histogram.Observe(2s);
  const auto read = histogram.Read();
  EXPECT_EQ(read.sample_count, 2u);
  EXPECT_DOUBLE_EQ(read.sample_sum, 2.25);
}

TEST(LatencyHistogramTest, WhatIsSlowerThanTheLastBoundStillCounts) {
  LatencyHistogram histogram;
  histogram.Observe(101s);
  EXPECT_EQ(CountIn(histogram.Read(), 36), 1u);
}

TEST(LatencyHistogramTest, NegativeDurationCountsAsZero) {
  LatencyHistogram histogram;
  histogram.Observe(-5ms);
  EXPECT_EQ(CountIn(histogram.Read(), 0), 1u);
  EXPECT_EQ(histogram.Read().sample_sum, 0);
}

TEST(RowsHistogramTest, HasPowersOfTwo) {
  RowsHistogram histogram;
  for (int rows : {1, 3, 4, 65}) histogram.Observe(rows);
  const auto read = histogram.Read();
  ASSERT_EQ(read.bucket.size(), 8u);
  EXPECT_EQ(read.bucket[6].upper_bound, 64);
  EXPECT_EQ(CountIn(read, 0), 1u);  // 1
  EXPECT_EQ(CountIn(read, 2), 2u);  // 3 and 4
  EXPECT_EQ(CountIn(read, 7), 1u);  // 65
  EXPECT_EQ(read.sample_sum, 73);
}

// More threads than shards, so that some share one, while a reader reads.
TEST(HistogramTest, ConcurrentWritersLoseNothing) {
  constexpr int kThreads = 12;
  constexpr int kEach = 20'000;
  LatencyHistogram histogram;
  Counter counter;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&histogram, &counter] {
      for (int n = 0; n < kEach; ++n) {
        histogram.Observe(n % 2 == 0 ? 1us : 1ms);
        counter.Add();
      }
    });
  }
  std::uint64_t last = 0;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t now = histogram.Read().sample_count;
    EXPECT_GE(now, last);
    last = now;
  }
  for (std::thread& thread : threads) thread.join();
  const auto read = histogram.Read();
  EXPECT_EQ(counter.value(), std::uint64_t{kThreads} * kEach);
  EXPECT_EQ(read.sample_count, std::uint64_t{kThreads} * kEach);
  EXPECT_EQ(CountIn(read, 0), std::uint64_t{kThreads} * kEach / 2);
  EXPECT_NEAR(read.sample_sum, kThreads * kEach / 2 * 1.001e-3, 1e-6);
}

}  // namespace
}  // namespace torchd
