#include "server/measuring/measure.h"

#include <chrono>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;
using Phase = Series::Phase;

// Takes a time by the clock of the test.
Candidate Taking(ManualClock& clock, Duration time, std::string* order = nullptr, char name = '.') {
  return {.run = [&clock, time, order, name] {
    clock.Advance(time);
    if (order != nullptr) *order += name;
    return absl::OkStatus();
  }};
}

TEST(MeasureTest, TheDeviceIsIdleWhenATimeBeginsAndWhenItEnds) {
  ManualClock clock;
  Duration left = milliseconds(5);  // Of what somebody else has started.
  const Candidate candidate = {.run =
                                   [&] {
                                     left += milliseconds(3);  // Starts it, and returns at once.
                                     return absl::OkStatus();
                                   },
                               .synchronise =
                                   [&] {
                                     clock.Advance(left);
                                     left = Duration(0);
                                   }};
  EXPECT_EQ(*TimeRun(candidate, clock), milliseconds(3));
}

TEST(MeasureTest, WhatPreparesARunDoesNotCount) {
  ManualClock clock;
  std::string order;
  Candidate candidate = Taking(clock, milliseconds(1), &order, 'r');
  candidate.prepare = [&] {
    clock.Advance(milliseconds(7));
    order += 'p';
  };
  const auto measured = MeasureInTurns({candidate}, {.repeats_max = 2}, clock);
  ASSERT_TRUE(measured.ok());
  EXPECT_EQ(order, "prpr");
  EXPECT_THAT(measured->at(0).times(), ElementsAre(milliseconds(1), milliseconds(1)));
}

TEST(MeasureTest, CandidatesTakeTurns) {
  ManualClock clock;
  std::string order;
  const std::vector<Candidate> candidates = {Taking(clock, milliseconds(1), &order, 'a'),
                                             Taking(clock, milliseconds(2), &order, 'b')};
  const auto measured = MeasureInTurns(candidates, {.warm_up = 1, .repeats_max = 3}, clock);
  ASSERT_TRUE(measured.ok());
  EXPECT_EQ(order, "abababab");
  EXPECT_THAT(measured->at(0).times(),
              ElementsAre(milliseconds(1), milliseconds(1), milliseconds(1)));
  EXPECT_THAT(measured->at(1).times(), SizeIs(3));
  EXPECT_THAT(measured->at(1).curve(), SizeIs(4));
}

TEST(MeasureTest, TheFirstErrorEndsIt) {
  ManualClock clock;
  int runs = 0;
  const std::vector<Candidate> candidates = {
      Taking(clock, milliseconds(1)),
      {.run = [&] { return ++runs == 2 ? absl::InternalError("broken") : absl::OkStatus(); }}};
  EXPECT_EQ(MeasureInTurns(candidates, {.repeats_max = 9}, clock).status(),
            absl::InternalError("broken"));
  EXPECT_EQ(runs, 2);
}

TEST(MeasureTest, TimeEndsItOnceThereAreEnough) {
  ManualClock clock;
  const SeriesLimits limits = {.repeats_min = 2, .repeats_max = 100, .time_max = milliseconds(10)};
  const auto short_ones =
      MeasureInTurns(std::vector<Candidate>{Taking(clock, milliseconds(3))}, limits, clock);
  EXPECT_THAT(short_ones->at(0).times(), SizeIs(4));
  const auto long_ones =
      MeasureInTurns(std::vector<Candidate>{Taking(clock, milliseconds(30))}, limits, clock);
  EXPECT_THAT(long_ones->at(0).times(), SizeIs(2));
}

TEST(MeasureTest, TheWarmUpIsInTheCurveAloneAndCostsNoTime) {
  ManualClock clock;
  Series series({.warm_up = 2, .repeats_max = 100, .time_max = milliseconds(4)});
  const std::vector<int> script = {90, 40, 3, 1, 1, 1};
  for (const int ms : script) {
    const auto phase = series.Begin(clock.Now());
    if (!phase) break;
    clock.Advance(milliseconds(ms));
    series.End(*phase, milliseconds(ms));
  }
  EXPECT_THAT(series.times(), ElementsAre(milliseconds(3), milliseconds(1)));
  EXPECT_THAT(series.curve(),
              ElementsAre(milliseconds(90), milliseconds(40), milliseconds(3), milliseconds(1)));
  EXPECT_EQ(series.Begin(clock.Now()), std::nullopt);
  EXPECT_EQ(series.Share(clock.Now()), 1);
}

TEST(MeasureTest, RunsMayOverlap) {
  ManualClock clock;
  Series series({.warm_up = 1, .repeats_max = 2});
  EXPECT_EQ(series.Begin(clock.Now()), Phase::kWarmUp);
  EXPECT_EQ(series.Begin(clock.Now()), Phase::kMeasuring);
  EXPECT_EQ(series.Begin(clock.Now()), Phase::kMeasuring);
  EXPECT_EQ(series.Begin(clock.Now()), std::nullopt);
  EXPECT_EQ(series.Share(clock.Now()), 0);
  series.End(Phase::kMeasuring, milliseconds(2));
  series.End(Phase::kWarmUp, milliseconds(5));
  EXPECT_EQ(series.Share(clock.Now()), 0.5);
  series.End(Phase::kMeasuring, milliseconds(2));
  EXPECT_THAT(series.times(), Each(milliseconds(2)));
}

TEST(MeasureTest, TheCurveKeepsTheFirstRuns) {
  ManualClock clock;
  const auto measured = MeasureInTurns(std::vector<Candidate>{Taking(clock, milliseconds(1))},
                                       {.repeats_max = 500}, clock);
  EXPECT_THAT(measured->at(0).curve(), SizeIs(Series::kCurveMax));
  EXPECT_THAT(measured->at(0).times(), SizeIs(500));
}

}  // namespace
}  // namespace torchd
