#include "server/inference/answer_difference.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace torchd {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

Tensor Floats(const std::vector<float>& values) {
  Tensor tensor;
  tensor.shape = {static_cast<int64_t>(values.size())};
  tensor.bytes.resize(values.size() * sizeof(float));
  std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

TEST(AnswerDifferenceTest, SmallAnswersAreHeldToTheirOwnScale) {
  EXPECT_NEAR(DifferenceOf(Floats({1e-3F, 2e-3F}), Floats({1e-3F, 2.2e-3F})), 0.1, 1e-5);
  EXPECT_NEAR(DifferenceOf(Floats({0, 2e-9F}), Floats({1e-9F, 2e-9F})), 0.5, 1e-5);
  EXPECT_GE(DifferenceOf(Floats({0, 0}), Floats({0, 1e-30F})), 1);
}

TEST(AnswerDifferenceTest, LargeOnesAreComparedAbsolutelyBelowOneElseByTheirSize) {
  EXPECT_NEAR(DifferenceOf(Floats({9, 0.5F}), Floats({9, 0.6F})), 0.1, 1e-5);
  EXPECT_NEAR(DifferenceOf(Floats({-1000, 1}), Floats({-1100, 1})), 0.1, 1e-5);
}

TEST(AnswerDifferenceTest, WhatIsNoNumberIsLikeItselfAlone) {
  EXPECT_EQ(DifferenceOf(Floats({kNaN, kInfinity, 1}), Floats({kNaN, kInfinity, 1})), 0);
  EXPECT_TRUE(std::isinf(DifferenceOf(Floats({kNaN, 1}), Floats({1, 1}))));
  EXPECT_TRUE(std::isinf(DifferenceOf(Floats({1, 1}), Floats({kNaN, 1}))));
  EXPECT_TRUE(std::isinf(DifferenceOf(Floats({kInfinity, 1}), Floats({-kInfinity, 1}))));
  EXPECT_NEAR(DifferenceOf(Floats({kInfinity, 0.5F}), Floats({kInfinity, 0.6F})), 0.2, 1e-5);
}

TEST(AnswerDifferenceTest, OtherTypesAndShapes) {
  EXPECT_TRUE(std::isinf(DifferenceOf(Floats({1}), Floats({1, 1}))));
  Tensor whole = Floats({1});
  whole.type = DataType::kInt32;
  EXPECT_TRUE(std::isinf(DifferenceOf(Floats({1}), whole)));
  Tensor other = whole;
  EXPECT_EQ(DifferenceOf(whole, other), 0);
  other.bytes[0] = 1;
  EXPECT_TRUE(std::isinf(DifferenceOf(whole, other)));
}

}  // namespace
}  // namespace torchd
