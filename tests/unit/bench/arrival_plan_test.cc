#include "bench/arrival_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace torchd::bench {
namespace {

using testing::ElementsAre;

std::vector<PlannedCall> AllOf(ArrivalPlan plan) {
  std::vector<PlannedCall> calls;
  while (const auto call = plan.Next()) calls.push_back(*call);
  return calls;
}

std::vector<PlannedCall> Plan(std::vector<Phase> phases, uint64_t seed = 1) {
  return AllOf(ArrivalPlan(std::move(phases), {1}, {1}, seed));
}

// The part of `calls` for which `holds`.
template <typename Predicate>
double Share(const std::vector<PlannedCall>& calls, Predicate holds) {
  return static_cast<double>(std::count_if(calls.begin(), calls.end(), holds)) /
         static_cast<double>(calls.size());
}

TEST(WeightedChoiceTest, DealsOutInProportion) {
  const WeightedChoice choice({2, 1, 1});
  std::vector<int> dealt;
  for (int i = 0; i < 8; ++i) dealt.push_back(choice.At((i + 0.5) / 8));
  EXPECT_THAT(dealt, ElementsAre(0, 0, 0, 0, 1, 1, 2, 2));
}

TEST(WeightedChoiceTest, CoversItsEnds) {
  const WeightedChoice choice({0.1, 0.2, 0.7});
  EXPECT_EQ(choice.At(0), 0);
  EXPECT_EQ(choice.At(std::nextafter(1.0, 0.0)), 2);
}

// Of exponential waits, mean and standard deviation are the same.
TEST(ArrivalPlanTest, WaitsHaveTheMeanAndVarianceOfAPoissonProcess) {
  const std::vector<PlannedCall> calls = Plan({{1000, 100}});
  const double count = static_cast<double>(calls.size());
  EXPECT_NEAR(count, 100'000, 4 * std::sqrt(100'000));
  double sum = 0;
  double squares = 0;
  for (size_t i = 1; i < calls.size(); ++i) {
    const double wait = Seconds(calls[i].at - calls[i - 1].at);
    ASSERT_GE(wait, 0);
    sum += wait;
    squares += wait * wait;
  }
  const double mean = sum / count;
  EXPECT_NEAR(mean, 1e-3, 2e-5);
  EXPECT_NEAR(std::sqrt(squares / count - mean * mean), 1e-3, 2e-5);
}

// Of a Poisson process, the calls per tenth of a second have a variance equal to their mean.
TEST(ArrivalPlanTest, CountsVaryAsThoseOfAPoissonProcess) {
  std::vector<double> counts(1000);
  for (const PlannedCall& call : Plan({{200, 100}}))
    ++counts[static_cast<int>(Seconds(call.at) * 10)];
  double variance = 0;
  for (const double count : counts) variance += (count - 20) * (count - 20) / 1000;
  EXPECT_NEAR(variance, 20, 4);
}

TEST(ArrivalPlanTest, PhasesFollowWithoutAGap) {
  const std::vector<PlannedCall> calls = Plan({{1000, 2}, {0, 1}, {4000, 1}});
  std::vector<int> counts(3);
  for (const PlannedCall& call : calls) {
    ++counts[call.phase];
    const double at = Seconds(call.at);
    EXPECT_EQ(call.phase, at < 2 ? 0 : at < 3 ? 1 : 2) << at;
    EXPECT_LT(at, 4);
  }
  EXPECT_NEAR(counts[0], 2000, 200);
  EXPECT_EQ(counts[1], 0);
  EXPECT_NEAR(counts[2], 4000, 300);
  EXPECT_LT(Seconds(calls[0].at), 0.02);
  EXPECT_LT(Seconds(calls[counts[0]].at), 3.01);
}

TEST(ArrivalPlanTest, SplitsCallsByWeight) {
  const auto calls = AllOf(ArrivalPlan({{1000, 40}}, {1, 3}, {8, 1, 1}, 1));
  EXPECT_NEAR(Share(calls, [](const PlannedCall& call) { return call.model == 1; }), 0.75, 0.01);
  EXPECT_NEAR(Share(calls, [](const PlannedCall& call) { return call.client == 0; }), 0.8, 0.01);
  // The two choices have nothing to do with each other.
  const auto both = [](const PlannedCall& call) { return call.model == 1 && call.client == 0; };
  EXPECT_NEAR(Share(calls, both), 0.6, 0.015);
}

TEST(ArrivalPlanTest, TheSeedIsThePlan) {
  const auto first = Plan({{100, 1}}, 7);
  const auto again = Plan({{100, 1}}, 7);
  ASSERT_EQ(first.size(), again.size());
  for (size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].at, again[i].at);
  EXPECT_NE(first[0].at, Plan({{100, 1}}, 8)[0].at);
}

TEST(ArrivalPlanTest, OnlyPausesPlanNothing) { EXPECT_TRUE(Plan({{0, 3600}}).empty()); }

}  // namespace
}  // namespace torchd::bench
