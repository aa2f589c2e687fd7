#include "server/batching/cost_table.h"

#include <algorithm>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/batching/rows.h"

namespace torchd {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::Ge;
using ::testing::Le;

const ShapeClass kOne = {};
const std::vector<int> kBuckets = {1, 2, 4, 8};

RunTimesByBucket FixedCost(Duration took) { return {{1, took}, {2, took}, {4, took}, {8, took}}; }
RunTimesByBucket Linear(Duration row) {
  return {{1, row}, {2, 2 * row}, {4, 4 * row}, {8, 8 * row}};
}

struct Choice {
  const char* why;
  RunTimesByBucket took;
  int rows;
  int bucket;
};

class ChoiceTest : public ::testing::TestWithParam<Choice> {};

TEST_P(ChoiceTest, IsTheBucketThatEndsSoonest) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, GetParam().took);
  EXPECT_EQ(costs.Choose(kOne, GetParam().rows), GetParam().bucket) << GetParam().why;
}

const RunTimesByBucket kFixedAndLinear = {
    {1, milliseconds(11)}, {2, milliseconds(12)}, {4, milliseconds(14)}, {8, milliseconds(18)}};

INSTANTIATE_TEST_SUITE_P(
    CostTable, ChoiceTest,
    ::testing::Values(
        Choice{"a lone row needs no company", kFixedAndLinear, 1, 1},
        Choice{"two fit", kFixedAndLinear, 2, 2},
        Choice{"14 ms padded against 12 + 11", kFixedAndLinear, 3, 4},
        Choice{"18 ms padded against 14 + 11", kFixedAndLinear, 5, 8},
        Choice{"as many as fit", kFixedAndLinear, 8, 8},
        Choice{"more wait than fit", kFixedAndLinear, 100, 8},
        Choice{"alone, a free ride for nobody", FixedCost(milliseconds(10)), 1, 1},
        Choice{"one run of a fixed cost instead of two", FixedCost(milliseconds(10)), 5, 8},
        Choice{"nothing gained: the first is answered sooner", Linear(milliseconds(10)), 8, 1},
        Choice{"nothing gained, more wait than fit", Linear(milliseconds(10)), 100, 1},
        Choice{"a bucket that the model runs badly is left out",
               {{1, milliseconds(10)},
                {2, milliseconds(11)},
                {4, milliseconds(100)},
                {8, milliseconds(200)}},
               8,
               2}));

TEST(CostTableTest, NothingMeasuredTakesNoTime) {
  const CostTable costs(kBuckets);
  EXPECT_EQ(costs.Typical(kOne, 5), Duration(0));
  EXPECT_EQ(costs.Careful(kOne, 5), Duration(0));
  EXPECT_TRUE(costs.Costs().empty());
}

TEST(CostTableTest, NothingMeasuredStillChoosesABucket) {
  const CostTable costs({2, 8});
  for (const int rows : {1, 2, 3, 8, 9, 1000}) {
    EXPECT_THAT(kBuckets, ::testing::Contains(costs.Choose(kOne, rows))) << rows;
    EXPECT_GE(costs.Choose(kOne, rows), 2) << rows;
  }
}

// Splitting is chosen where padding costs more: 4 + 1 rows in 11 ms against 30.
TEST(CostTableTest, SplitsWherePaddingIsSlower) {
  CostTable costs(kBuckets);
  Measure(
      costs, kOne,
      {{1, milliseconds(1)}, {2, milliseconds(6)}, {4, milliseconds(3)}, {8, milliseconds(30)}});
  EXPECT_LE(costs.Choose(kOne, 5), 4);
  EXPECT_NEAR(Seconds(costs.Typical(kOne, 5)), 0.004, 0.0002);
}

TEST(CostTableTest, TypicalCountsRunAfterRun) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, FixedCost(milliseconds(10)));
  EXPECT_NEAR(Seconds(costs.Typical(kOne, 1)), 0.010, 1e-4);
  EXPECT_NEAR(Seconds(costs.Typical(kOne, 8)), 0.010, 1e-4);
  EXPECT_NEAR(Seconds(costs.Typical(kOne, 9)), 0.020, 1e-4);
  EXPECT_NEAR(Seconds(costs.Typical(kOne, 100)), 0.130, 1e-3);
}

TEST(CostTableTest, TypicalNeverFallsWithMoreRows) {
  CostTable costs(kBuckets);
  Measure(
      costs, kOne,
      {{1, milliseconds(9)}, {2, milliseconds(30)}, {4, milliseconds(5)}, {8, milliseconds(7)}});
  for (int rows = 1; rows < 40; ++rows) {
    EXPECT_LE(costs.Typical(kOne, rows), costs.Typical(kOne, rows + 1)) << rows;
  }
}

TEST(CostTableTest, OneHiccupCountsForLittle) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, FixedCost(milliseconds(10)));
  costs.Add(kOne, 8, std::chrono::seconds(10));
  EXPECT_LT(costs.Typical(kOne, 8), milliseconds(20));
  EXPECT_EQ(costs.Choose(kOne, 8), 8);
}

TEST(CostTableTest, RecentRunsCountForMore) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, {{1, milliseconds(10)}}, 100);
  Measure(costs, kOne, {{1, milliseconds(30)}}, 50);
  EXPECT_NEAR(Seconds(costs.Typical(kOne, 1)), 0.030, 0.003);
}

TEST(CostTableTest, CarefulIsLongerThanHardlyAnyRun) {
  CostTable costs({1});
  uint64_t state = 7;
  const auto run = [&] {  // 8 to 12 ms, evenly.
    state = state * 6364136223846793005u + 1442695040888963407u;
    return microseconds(8000 + (state >> 33) % 4000);
  };
  int late = 0;
  for (int i = 0; i < 1000; ++i) {
    const Duration took = run();
    if (i >= 100 && took > costs.Careful(kOne, 1)) ++late;
    costs.Add(kOne, 1, took);
  }
  EXPECT_LE(late, 90);  // 10 %.
  EXPECT_THAT(Seconds(costs.Careful(kOne, 1)), AllOf(Ge(0.0105), Le(0.020)));
}

TEST(CostTableTest, CompanyPaysWhereARunHasAFixedCost) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, kFixedAndLinear);
  EXPECT_TRUE(costs.CompanyPays(kOne, 1));
  EXPECT_TRUE(costs.CompanyPays(kOne, 7));
  EXPECT_FALSE(costs.CompanyPays(kOne, 8));  // Full.
}

TEST(CostTableTest, CompanyDoesNotPayWhereRowsAddUp) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, Linear(milliseconds(10)));
  for (int rows = 1; rows <= 8; ++rows) EXPECT_FALSE(costs.CompanyPays(kOne, rows)) << rows;
}

TEST(CostTableTest, CompanyNeverPaysWhereOnlyOneRowFits) {
  CostTable costs({1});
  EXPECT_FALSE(costs.CompanyPays(kOne, 1));
  costs.Add(kOne, 1, milliseconds(10));
  EXPECT_FALSE(costs.CompanyPays(kOne, 1));
}

TEST(CostTableTest, ShapesAreMeasuredApart) {
  CostTable costs(kBuckets);
  Measure(costs, {10}, Linear(milliseconds(1)));
  Measure(costs, {500}, FixedCost(milliseconds(50)));
  EXPECT_EQ(costs.Choose({10}, 8), 1);
  EXPECT_EQ(costs.Choose({500}, 8), 8);
}

TEST(CostTableTest, AnUnknownShapeCostsWhatTheNearestDoes) {
  CostTable costs(kBuckets);
  Measure(costs, {10}, FixedCost(milliseconds(1)));
  Measure(costs, {1000}, FixedCost(milliseconds(100)));
  EXPECT_NEAR(Seconds(costs.Typical({900}, 1)), 0.100, 0.002);
  EXPECT_NEAR(Seconds(costs.Typical({12}, 1)), 0.001, 0.0001);
}

// 4000 numbers against a million.
TEST(CostTableTest, TheNearestIsTheOneWithAsManyNumbers) {
  CostTable costs(kBuckets);
  Measure(costs, {1001, 1001}, FixedCost(milliseconds(100)));
  Measure(costs, {60, 60}, FixedCost(milliseconds(1)));
  EXPECT_LT(costs.Typical({2000, 2}, 1), milliseconds(2));
}

TEST(CostTableTest, OnlyTheVeryShapeCountsAsMeasured) {
  CostTable costs(kBuckets);
  costs.Add({8}, 1, milliseconds(1));
  EXPECT_GT(costs.MeasuredMean({8}, 1), Duration(0));
  EXPECT_EQ(costs.MeasuredMean({8}, 2), Duration(0));
  EXPECT_EQ(costs.MeasuredMean({8192}, 1), Duration(0));
}

TEST(CostTableTest, TheFirstRunOfManyRowsIsOneRun) {
  CostTable costs(kBuckets);
  EXPECT_EQ(costs.FirstRun(kOne, 8).bucket, 0);
  Measure(costs, kOne, Linear(milliseconds(10)));
  EXPECT_EQ(costs.FirstRun(kOne, 100).bucket, 1);
  EXPECT_NEAR(Seconds(costs.FirstRun(kOne, 100).careful), 0.010, 0.0005);
  EXPECT_NEAR(Seconds(costs.CarefulRun(kOne, 4)), 0.040, 0.002);
}

// What one run took says little of the next.
TEST(CostTableTest, CarefulLeavesRoomAfterOneRun) {
  CostTable costs({1});
  costs.Add(kOne, 1, milliseconds(80));
  EXPECT_GE(costs.Careful(kOne, 1), milliseconds(95));
}

// 3 % are noise.
TEST(CostTableTest, AGainThatIsNoiseIsNone) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, {{1, microseconds(10'000)}, {2, microseconds(19'500)}});
  EXPECT_EQ(costs.Choose(kOne, 2), 1);
}

// Else each look at what is old would lead to some hundred runs of it.
TEST(CostTableTest, OneLuckyRunOfWhatIsOldChangesNothing) {
  CostTable costs({1, 2});
  Measure(costs, kOne, {{1, milliseconds(10)}, {2, milliseconds(20)}});
  for (int i = 0; i < 300; ++i) costs.Add(kOne, 1, milliseconds(10));
  costs.Add(kOne, 2, milliseconds(15));
  EXPECT_EQ(costs.Choose(kOne, 2), 1);
}

TEST(CostTableTest, ForgetsTheShapeNotUsedForLongest) {
  CostTable costs({1});
  for (int64_t size = 1; size <= 3 * static_cast<int64_t>(CostTable::kClassesMax); ++size) {
    costs.Add({0}, 1, milliseconds(1));
    costs.Add({size}, 1, milliseconds(1));
  }
  std::set<ShapeClass> known;
  for (const CostTable::Cost& cost : costs.Costs()) known.insert(cost.shape);
  EXPECT_EQ(known.size(), CostTable::kClassesMax);
  EXPECT_TRUE(known.contains({0}));
  EXPECT_TRUE(known.contains({3 * static_cast<int64_t>(CostTable::kClassesMax)}));
  EXPECT_FALSE(known.contains({1}));
}

TEST(CostTableTest, CostsTellAllThatWasMeasured) {
  CostTable costs(kBuckets);
  Measure(costs, {7}, {{2, milliseconds(5)}, {8, milliseconds(9)}}, 3);
  const std::vector<CostTable::Cost> all = costs.Costs();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].shape, ShapeClass({7}));
  EXPECT_EQ(all[0].bucket, 2);
  EXPECT_EQ(all[0].runs, 3);
  EXPECT_NEAR(Seconds(all[0].mean), 0.005, 1e-6);
  EXPECT_EQ(all[1].bucket, 8);
}

// Runs `runs` times what the table chooses for rows that are always there; returns how the time
// per row compares with the best possible.
double TimePerRowOverBest(CostTable& costs, const RunTimesByBucket& truth, int waiting, int runs) {
  double best = 1e9, took = 0;
  for (const auto& [bucket, time] : truth) {
    best = std::min(best, Seconds(time) / std::min(bucket, waiting));
  }
  int rows = 0;
  for (int i = 0; i < runs; ++i) {
    const int bucket = costs.Choose(kOne, waiting);
    costs.Add(kOne, bucket, truth.at(bucket));
    took += Seconds(truth.at(bucket));
    rows += std::min(bucket, waiting);
  }
  return took / rows / best;
}

TEST(CostTableTest, LearnsFromNothingWhatIsBest) {
  for (const RunTimesByBucket& truth :
       {FixedCost(milliseconds(10)), Linear(milliseconds(10)), kFixedAndLinear}) {
    CostTable costs(kBuckets);
    TimePerRowOverBest(costs, truth, 8, 200);
    EXPECT_LT(TimePerRowOverBest(costs, truth, 8, 1000), 1.1);
  }
}

// A first run pays for warming up; were it believed for ever, the bucket would never run again.
TEST(CostTableTest, ABadFirstRunIsNotBelievedForEver) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, {{1, milliseconds(10)}, {2, milliseconds(10)}, {4, milliseconds(10)}});
  costs.Add(kOne, 8, std::chrono::seconds(2));
  TimePerRowOverBest(costs, FixedCost(milliseconds(10)), 8, 2000);
  EXPECT_LT(TimePerRowOverBest(costs, FixedCost(milliseconds(10)), 8, 1000), 1.1);
}

// The same of a bucket that was slow for a while, and then left alone.
TEST(CostTableTest, ASlowSpellIsNotBelievedForEver) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, kFixedAndLinear, 100);
  for (int i = 0; i < 30; ++i) costs.Add(kOne, 8, milliseconds(90));
  TimePerRowOverBest(costs, kFixedAndLinear, 8, 10'000);
  EXPECT_LT(TimePerRowOverBest(costs, kFixedAndLinear, 8, 1000), 1.1);
}

TEST(CostTableTest, LearnsAnewWhenTheModelBehavesOtherwise) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, Linear(milliseconds(10)), 100);
  TimePerRowOverBest(costs, FixedCost(milliseconds(10)), 8, 2000);
  EXPECT_LT(TimePerRowOverBest(costs, FixedCost(milliseconds(10)), 8, 1000), 1.1);
}

// What was only tried to measure it again must not cost more than a little.
TEST(CostTableTest, LookingAgainCostsLittle) {
  CostTable costs(kBuckets);
  Measure(costs, kOne, Linear(milliseconds(10)), 100);
  EXPECT_LT(TimePerRowOverBest(costs, Linear(milliseconds(10)), 8, 5000), 1.05);
}

}  // namespace
}  // namespace torchd
