#include "server/inference/open_sizes.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<TensorSpec> Both() {
  return {{"picture", DataType::kFloat32, {3, -1, -1}}, {"ids", DataType::kInt64, {-1}}};
}

std::string Refusal(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(OpenSizesTest, ALengthStandsForAllOfThemElseTheUsual) {
  const auto filled = [](std::optional<int64_t> length, std::optional<int64_t> usual) {
    std::vector<TensorSpec> inputs = Both();
    EXPECT_TRUE(FillOpenSizes("cat.pt", {}, length, inputs, usual).ok());
    return std::vector<Shape>{inputs[0].shape, inputs[1].shape};
  };
  EXPECT_THAT(filled({}, {}), ElementsAre(Shape({3, 224, 224}), Shape({16})));
  EXPECT_THAT(filled(40, {}), ElementsAre(Shape({3, 40, 40}), Shape({40})));
  EXPECT_THAT(filled({}, 9), ElementsAre(Shape({3, 224, 224}), Shape({9})));
  EXPECT_THAT(filled(40, 9), ElementsAre(Shape({3, 40, 40}), Shape({40})));
}

TEST(OpenSizesTest, ALengthThatNothingTakesIsRefused) {
  std::vector<TensorSpec> fixed = {{"x", DataType::kFloat32, {3}}};
  EXPECT_EQ(Refusal(FillOpenSizes("cat.pt", {}, 5, fixed)),
            "length: got 5, but cat.pt leaves no size open: x float32[3]");
  EXPECT_TRUE(FillOpenSizes("cat.pt", {}, {}, fixed).ok());
  ModelConfig text;
  text.text = TextConfig();
  text.text->tokens_max = 96;
  std::vector<TensorSpec> inputs = Both();
  EXPECT_THAT(Refusal(FillOpenSizes("cat.pt", text, 97, inputs)),
              HasSubstr("got a size of 97, expected 1 to 96 (text.tokens_max of the model)"));
}

TEST(OpenSizesTest, RowsHaveALimitTogether) {
  const std::vector<TensorSpec> inputs = {{"x", DataType::kFloat32, {1 << 20}}};
  EXPECT_TRUE(CheckRunBytes(64, inputs).ok());
  EXPECT_THAT(Refusal(CheckRunBytes(65, inputs)), HasSubstr("65 times x float32[1048576]"));
}

}  // namespace
}  // namespace torchd
