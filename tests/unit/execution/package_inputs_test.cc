#include "server/execution/package_inputs.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;

// As inductor writes it, shortened.
constexpr char kPictures[] = R"(
AOTI_NOINLINE static void check_input_0(
    AtenTensorHandle* input_handles
) {
        ss << "input_handles[0]: unmatched dtype, "
           << "expected: " << arg_expected_dtype << "(at::kFloat), "
    if (arg_size[0] < 2) {
        ss << "input_handles[0]: dim value is too small at 0, "
           << "expected it to be >= 2, " << "but got: "
    }
    if (1 != arg_size[1]) {
        ss << "input_handles[0]: unmatched dim value at 1, "
           << "expected: 1, " << "but got: " << arg_size[1]
    }
        ss << "input_handles[0]: unmatched dim value at 2, "
           << "expected: 28, " << "but got: " << arg_size[2]
        ss << "input_handles[0]: unmatched stride value at 3, "
           << "expected: 1, " << "but got: " << arg_stride[3]
}
AOTI_NOINLINE static void check_input_1(
    AtenTensorHandle* input_handles
) {
           << "unmatched dtype, expected: " << "(at::kLong), "
        ss << "input_handles[0]: unmatched dim value at 1, "
           << "expected: 7, " << "but got: " << arg_size[1]
}
)";

TEST(CheckedInputsTest, SizesAndTypesAreThoseThatAreChecked) {
  const auto inputs = CheckedInputs(kPictures, {"image", "ids"});
  ASSERT_TRUE(inputs.has_value());
  EXPECT_EQ((*inputs)[0].name, "image");
  EXPECT_EQ((*inputs)[0].type, DataType::kFloat32);
  EXPECT_THAT((*inputs)[0].shape, ElementsAre(1, 28, -1));
  EXPECT_EQ((*inputs)[1].type, DataType::kInt64);
  EXPECT_THAT((*inputs)[1].shape, ElementsAre(7));
}

TEST(CheckedInputsTest, WhatHasNoChecksSaysNothing) {
  EXPECT_FALSE(CheckedInputs("", {"x"}).has_value());
  EXPECT_FALSE(CheckedInputs(kPictures, {"a", "b", "c"}).has_value());
  EXPECT_FALSE(CheckedInputs("static void check_input_0(", {"x"}).has_value());
  EXPECT_FALSE(CheckedInputs("static void check_input_0(unmatched dtype(at::kHalf)", {"x"}));
}

TEST(CheckedInputsTest, PlacesBeyondReasonAreNotTaken) {
  const auto inputs = CheckedInputs(
      "static void check_input_0(unmatched dtype (at::kFloat) unmatched dim value at 1, "
      "expected: 3, unmatched dim value at 999999999999, expected: 3",
      {"x"});
  ASSERT_TRUE(inputs.has_value());
  EXPECT_THAT((*inputs)[0].shape, ElementsAre(3));
}

}  // namespace
}  // namespace torchd
