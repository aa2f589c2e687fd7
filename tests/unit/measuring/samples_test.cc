#include "server/measuring/samples.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using std::chrono::nanoseconds;

std::vector<Duration> Sorted(std::vector<Duration> times) {
  std::sort(times.begin(), times.end());
  return times;
}

// Some normal, some with a long tail, some with few different values: as times of runs are.
std::vector<Duration> RandomTimes(std::mt19937& random, size_t count) {
  std::lognormal_distribution<double> tail(10, 1.0);
  std::normal_distribution<double> bell(50'000, 3'000);
  std::uniform_int_distribution<int> few(1, 5);
  const int kind = few(random) % 3;
  std::vector<Duration> times;
  for (size_t i = 0; i < count; ++i) {
    const double one = kind == 0 ? tail(random) : kind == 1 ? bell(random) : few(random);
    times.emplace_back(nanoseconds(static_cast<int64_t>(std::max(one, 1.0))));
  }
  return times;
}

// By the definition: at least `share` of the times do not exceed it, and of no shorter one.
TEST(SamplesTest, PercentilesEqualTheirDefinitionOverASort) {
  std::mt19937 random(1);
  for (size_t count = 1; count <= 300; ++count) {
    const std::vector<Duration> times = RandomTimes(random, count);
    const std::vector<Duration> sorted = Sorted(times);
    for (const int percent : {1, 25, 50, 90, 95, 99, 100}) {
      const Duration got = Percentile(sorted, percent / 100.0);
      const auto not_above = [&](Duration limit) {
        return std::count_if(times.begin(), times.end(),
                             [&](Duration one) { return one <= limit; });
      };
      EXPECT_GE(100 * not_above(got), percent * static_cast<int64_t>(count));
      EXPECT_LT(100 * not_above(got - nanoseconds(1)), percent * static_cast<int64_t>(count));
    }
    EXPECT_EQ(Median(times), Percentile(sorted, 0.5));
  }
}

TEST(SamplesTest, SummaryEqualsWhatTheSamplesSay) {
  const std::vector<Duration> sorted = {nanoseconds(2), nanoseconds(4), nanoseconds(4),
                                        nanoseconds(4), nanoseconds(5), nanoseconds(5),
                                        nanoseconds(7), nanoseconds(9)};
  const TimeSummary summary = Summarise(sorted);
  EXPECT_EQ(summary.count, 8);
  EXPECT_EQ(summary.min, nanoseconds(2));
  EXPECT_EQ(summary.max, nanoseconds(9));
  EXPECT_EQ(summary.mean, nanoseconds(5));
  EXPECT_EQ(summary.p50, nanoseconds(4));
  EXPECT_EQ(summary.p99, nanoseconds(9));
  EXPECT_EQ(summary.stddev, nanoseconds(2));  // The root of 32 / 7, rounded.
  EXPECT_EQ(summary.median.low, nanoseconds(2));
  EXPECT_EQ(summary.median.high, nanoseconds(9));
}

TEST(SamplesTest, OneTimeIsItsOwnSummary) {
  const TimeSummary summary = Summarise({nanoseconds(7)});
  EXPECT_EQ(summary.mean, nanoseconds(7));
  EXPECT_EQ(summary.stddev, nanoseconds(0));
  EXPECT_EQ(summary.median.low, nanoseconds(7));
  EXPECT_EQ(summary.median.high, nanoseconds(7));
  EXPECT_EQ(summary.median.confidence, 0);
}

// Of textbooks' tables for a confidence of 0.95: from which place to which, counted from 1.
TEST(SamplesTest, MedianIntervalIsThatOfTheTables) {
  const struct {
    int count, low, high;
    double confidence;
  } cases[] = {{6, 1, 6, 0.96875},
               {10, 2, 9, 0.9785},
               {20, 6, 15, 0.9586},
               {25, 8, 18, 0.9567},
               {100, 40, 61, 0.9648}};
  for (const auto& test : cases) {
    std::vector<Duration> times;
    for (int i = 1; i <= test.count; ++i) times.emplace_back(nanoseconds(i));
    const Interval got = MedianInterval(times);
    EXPECT_EQ(got.low, nanoseconds(test.low)) << test.count;
    EXPECT_EQ(got.high, nanoseconds(test.high)) << test.count;
    EXPECT_NEAR(got.confidence, test.confidence, 1e-4) << test.count;
  }
}

TEST(SamplesTest, TooFewTimesSayHowLittleTheyProve) {
  const Interval got = MedianInterval({nanoseconds(1), nanoseconds(2), nanoseconds(3)});
  EXPECT_EQ(got.low, nanoseconds(1));
  EXPECT_EQ(got.high, nanoseconds(3));
  EXPECT_NEAR(got.confidence, 0.75, 1e-9);
}

// Four trials in a hundred thousand miss by more than the bounds here.
TEST(SamplesTest, MedianIntervalHoldsTheTrueMedianAsOftenAsItSays) {
  constexpr int kTrials = 4000;
  const double true_median = std::exp(10.0);  // Of the distribution below.
  std::mt19937 random(7);
  std::lognormal_distribution<double> distribution(10, 1.0);
  for (const int count : {6, 11, 40, 301}) {
    int held = 0;
    double said = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      std::vector<Duration> times;
      for (int i = 0; i < count; ++i) {
        times.emplace_back(nanoseconds(static_cast<int64_t>(1000 * distribution(random))));
      }
      const Interval got = MedianInterval(Sorted(times));
      const auto median = nanoseconds(static_cast<int64_t>(1000 * true_median));
      held += got.low <= median && median <= got.high ? 1 : 0;
      said = got.confidence;
    }
    EXPECT_GE(said, 0.95);
    EXPECT_NEAR(static_cast<double>(held) / kTrials, said, 0.015) << count << " times";
  }
}

TEST(SamplesTest, IntervalsOfAMillionTimesAreNarrowAndExact) {
  std::vector<Duration> times;
  for (int i = 1; i <= 1'000'000; ++i) times.emplace_back(nanoseconds(i));
  const Interval got = MedianInterval(times);
  EXPECT_NEAR(static_cast<double>(got.low.count()), 500'000 - 980, 2);
  EXPECT_NEAR(static_cast<double>(got.high.count()), 500'000 + 981, 2);
  EXPECT_NEAR(got.confidence, 0.95, 1e-3);
}

TEST(SamplesTest, BinsHoldEachTimeOnce) {
  std::mt19937 random(3);
  for (const size_t count : {1u, 2u, 5u, 99u, 1000u}) {
    for (const int bins : {1, 7, 20}) {
      const std::vector<Duration> sorted = Sorted(RandomTimes(random, count));
      const std::vector<TimeBin> made = BinsOf(sorted, bins);
      ASSERT_GE(made.size(), static_cast<size_t>(bins));
      ASSERT_LE(made.size(), static_cast<size_t>(bins) + 1);
      int64_t total = 0;
      for (size_t i = 0; i < made.size(); ++i) {
        const bool last = i == static_cast<size_t>(bins);
        total += made[i].count;
        EXPECT_EQ(made[i].count, std::count_if(sorted.begin(), sorted.end(), [&](Duration time) {
                    return time >= made[i].from && (time < made[i].to || last);
                  }));
        if (i > 0) {
          EXPECT_EQ(made[i].from, made[i - 1].to);
        }
      }
      EXPECT_EQ(total, static_cast<int64_t>(count));
    }
  }
}

TEST(SamplesTest, ARareLongTimeHasABinOfItsOwn) {
  std::vector<Duration> times;
  for (int i = 0; i < 999; ++i) times.emplace_back(nanoseconds(100 + i % 10));
  times.emplace_back(nanoseconds(1'000'000));
  const std::vector<TimeBin> bins = BinsOf(times, 10);
  ASSERT_EQ(bins.size(), 11u);
  EXPECT_EQ(bins.back().count, 1);
  EXPECT_EQ(bins.back().to, nanoseconds(1'000'000));
  EXPECT_LE(bins[9].to, nanoseconds(120));
}

}  // namespace
}  // namespace torchd
