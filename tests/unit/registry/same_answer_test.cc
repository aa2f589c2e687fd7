#include "server/registry/same_answer.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"

namespace torchd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

Tensor Bytes(DataType type, const Shape& shape, std::vector<char> bytes) {
  return {type, shape, std::move(bytes)};
}

TEST(SameAnswerTest, FloatsMayDifferALittle) {
  const struct {
    float expected, got;
    bool same;
  } cases[] = {
      {0, 0, true},
      {0, 0.0009F, true},  // Absolutely, below 1.
      {0, 0.0011F, false},
      {0.5F, 0.5009F, true},
      {1000, 1000.9F, true},  // Of its size, above.
      {1000, 1001.1F, false},
      {-1000, -999.1F, true},
      {1, -1, false},
      {1e30F, 1.0005e30F, true},
      {1e30F, 1.002e30F, false},
      {kNaN, kNaN, true},  // Wrong, but the same.
      {kNaN, 0, false},
      {0, kNaN, false},
      {kInfinity, kInfinity, true},
      {-kInfinity, -kInfinity, true},
      {kInfinity, -kInfinity, false},
      {kInfinity, 3e38F, false},
      {3e38F, kInfinity, false},
      {kInfinity, kNaN, false},
  };
  for (const auto& test : cases) {
    const absl::Status status = CheckSameAnswer({FloatTensor({1, 2}, {7, test.expected})},
                                                {FloatTensor({1, 2}, {7, test.got})});
    EXPECT_EQ(status.ok(), test.same) << test.expected << " " << test.got << " " << status;
    if (!test.same) {
      EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    }
  }
}

TEST(SameAnswerTest, MessagesSayWhatDiffers) {
  const Tensor floats = FloatTensor({1, 2}, {1, 2});
  const Tensor whole = Bytes(DataType::kUint8, {1, 2}, {1, 2});
  const struct {
    std::vector<Tensor> expected, got;
    std::string says;
  } cases[] = {
      {{floats},
       {FloatTensor({1, 2}, {1, 3})},
       "output 0 is 3 at 1, in the trial it was 2; a difference of 0.5, at most 0.001 is "
       "expected"},
      {{floats, floats},
       {floats, FloatTensor({2, 1}, {1, 2})},
       "output 1 is float32 [2,1], in the trial it was float32 [1,2]"},
      {{floats}, {whole}, "output 0 is uint8 [1,2], in the trial it was float32 [1,2]"},
      {{floats}, {floats, floats}, "2 outputs, in the trial there were 1"},
      {{floats}, {}, "0 outputs, in the trial there were 1"},
      {{whole}, {Bytes(DataType::kUint8, {1, 2}, {1, 3})}, "output 0 is not as in the trial"},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(CheckSameAnswer(test.expected, test.got), absl::FailedPreconditionError(test.says));
  }
}

TEST(SameAnswerTest, WhereTheOwnerAllowsADifference) {
  ModelConfig config;
  EXPECT_EQ(SameAnswerTolerance(config), kSameAnswerTolerance);
  config.plan_difference_max = 0.05;
  const Tensor expected = FloatTensor({1, 2}, {7, 2});
  const Tensor near = FloatTensor({1, 2}, {7, 2.1F});
  const Tensor far = FloatTensor({1, 2}, {7, 2.2F});
  EXPECT_TRUE(CheckSameAnswer({expected}, {near}, SameAnswerTolerance(config)).ok());
  EXPECT_FALSE(CheckSameAnswer({expected}, {far}, SameAnswerTolerance(config)).ok());
  config.plan = Plan::kInt8;
  EXPECT_FALSE(CheckSameAnswer({expected}, {far}, SameAnswerTolerance(config)).ok());
  config.plan_difference_max = 0;  // Chosen, and no limit said.
  EXPECT_TRUE(CheckSameAnswer({expected}, {far}, SameAnswerTolerance(config)).ok());
  const Tensor none = FloatTensor({1, 2}, {7, kNaN});
  EXPECT_FALSE(CheckSameAnswer({expected}, {none}, SameAnswerTolerance(config)).ok());
}

TEST(SameAnswerTest, EqualAnswersAreTheSameWhateverTheirType) {
  const std::vector<Tensor> answer = {FloatTensor({1, 0}, {}), FloatTensor({1, 3}, {1, 2, 3}),
                                      Bytes(DataType::kInt64, {1, 1}, std::vector<char>(8, 'x')),
                                      Bytes(DataType::kUint8, {1, 1}, {1})};
  EXPECT_TRUE(CheckSameAnswer(answer, answer).ok());
  EXPECT_TRUE(CheckSameAnswer({}, {}).ok());
}

}  // namespace
}  // namespace torchd
