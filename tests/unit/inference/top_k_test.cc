#include "server/inference/top_k.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<ScoredClass> Top(const std::vector<float>& scores, int k, bool softmax = false) {
  EXPECT_TRUE(AllFinite(scores));
  return TopK(scores, {k, softmax ? Activation::kSoftmax : Activation::kNone});
}

std::vector<int> Indices(const std::vector<ScoredClass>& top) {
  std::vector<int> indices;
  for (const ScoredClass& scored : top) indices.push_back(scored.index);
  return indices;
}

TEST(TopKTest, HighestFirstWithTheirScores) {
  const auto top = Top({1, 5, -2, 3}, 2);
  EXPECT_THAT(Indices(top), ElementsAre(1, 3));
  EXPECT_EQ(top[0].score, 5);
  EXPECT_EQ(top[1].score, 3);
}

TEST(TopKTest, EqualScoresKeepTheOrderOfTheirIndex) {
  EXPECT_THAT(Indices(Top({2, 7, 7, 2, 7}, 4)), ElementsAre(1, 2, 4, 0));
}

TEST(TopKTest, AllClassesMayBeAskedFor) {
  EXPECT_THAT(Indices(Top({1, 3, 2}, 3)), ElementsAre(1, 2, 0));
  EXPECT_THAT(Indices(Top({4}, 1, true)), ElementsAre(0));
}

TEST(TopKTest, SoftmaxGivesProbabilitiesOverAllClasses) {
  const auto top = Top({0, std::log(2.0F), std::log(5.0F)}, 2, true);
  EXPECT_THAT(Indices(top), ElementsAre(2, 1));
  EXPECT_NEAR(top[0].score, 5.0 / 8, 1e-6);  // The class left out counts too.
  EXPECT_NEAR(top[1].score, 2.0 / 8, 1e-6);
}

TEST(TopKTest, SigmoidLooksAtEachClassForItself) {
  const auto top = TopK(std::vector<float>{0, 2, -1e4F, 1e4F}, {4, Activation::kSigmoid});
  EXPECT_THAT(Indices(top), ElementsAre(3, 1, 0, 2));
  EXPECT_FLOAT_EQ(top[0].score, 1);
  EXPECT_FLOAT_EQ(top[1].score, 1 / (1 + std::exp(-2.0F)));
  EXPECT_FLOAT_EQ(top[2].score, 0.5F);
  EXPECT_EQ(top[3].score, 0);
}

TEST(TopKTest, ClassesBelowTheThresholdAreLeftOut) {
  const std::vector<float> scores = {0, 2, -3, 1};
  EXPECT_THAT(Indices(TopK(scores, {4, Activation::kSigmoid, 0.5F})), ElementsAre(1, 3, 0));
  EXPECT_THAT(Indices(TopK(scores, {2, Activation::kSigmoid, 0.5F})), ElementsAre(1, 3));
  EXPECT_THAT(Indices(TopK(scores, {4, Activation::kSoftmax, 0.5F})), ElementsAre(1));
  EXPECT_THAT(Indices(TopK(scores, {4, Activation::kNone, 1.5F})), ElementsAre(1));
  EXPECT_THAT(TopK(scores, {4, Activation::kSigmoid, 0.99F}), IsEmpty());
}

TEST(TopKTest, SoftmaxOfHugeScoresDoesNotOverflow) {
  const auto top = Top({1e4F, -1e4F, 1e4F}, 3, true);
  EXPECT_THAT(Indices(top), ElementsAre(0, 2, 1));
  EXPECT_FLOAT_EQ(top[0].score, 0.5F);
  EXPECT_FLOAT_EQ(top[1].score, 0.5F);
  EXPECT_EQ(top[2].score, 0);
  const float most = std::numeric_limits<float>::max();
  EXPECT_FLOAT_EQ(Top({most, -most}, 1, true)[0].score, 1);
}

TEST(TopKTest, WhatIsNoNumberIsLeftOut) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::nanf(""), infinity, -infinity}) {
    const std::vector<float> scores = {bad, 0, bad, 0};
    EXPECT_FALSE(AllFinite(scores));
    EXPECT_THAT(Indices(TopK(scores, {3})), ElementsAre(1, 3));
    const auto top = TopK(scores, {1, Activation::kSoftmax});
    EXPECT_THAT(Indices(top), ElementsAre(1));
    EXPECT_FLOAT_EQ(top[0].score, 0.5F);  // Of those that are numbers.
    EXPECT_THAT(TopK(std::vector<float>{bad, bad}, {2, Activation::kSoftmax}), IsEmpty());
  }
}

TEST(TopKTest, HugeNumbersAreNumbers) {
  const float most = std::numeric_limits<float>::max();
  EXPECT_TRUE(AllFinite(std::vector<float>{most, most, -most}));
  EXPECT_TRUE(AllFinite({}));
}

// Few distinct scores, so that ties are common.
TEST(TopKTest, RandomRowsAgreeWithANaiveSort) {
  std::mt19937 random(7);
  for (int row = 0; row < 1000; ++row) {
    std::vector<float> scores(1 + random() % 40);
    for (float& score : scores) score = static_cast<float>(random() % 20) - 10.0F;
    const int k = 1 + static_cast<int>(random() % scores.size());
    std::vector<int> naive(scores.size());
    for (size_t i = 0; i < naive.size(); ++i) naive[i] = static_cast<int>(i);
    std::stable_sort(naive.begin(), naive.end(), [&](int a, int b) {
      return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
    });
    naive.resize(static_cast<size_t>(k));
    ASSERT_EQ(Indices(Top(scores, k)), naive) << "row " << row;
    const auto all = Top(scores, static_cast<int>(scores.size()), true);
    double sum = 0;
    for (const ScoredClass& scored : all) sum += scored.score;
    ASSERT_NEAR(sum, 1, 1e-5) << "row " << row;
  }
}

}  // namespace
}  // namespace torchd
