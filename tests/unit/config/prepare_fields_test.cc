#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/config/model_config.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;

ModelConfig Good(const std::string& yaml) {
  const auto config = ParseModelConfig(yaml);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : ModelConfig();
}

TEST(PrepareFieldsTest, LayoutTypeAndScaleOfPictures) {
  const ModelConfig defaults = Good("image: {}\n");
  EXPECT_EQ(defaults.image->layout, ImageLayout::kChw);
  EXPECT_FALSE(defaults.image->as_levels);
  EXPECT_FALSE(defaults.image->scale.has_value());
  const ModelConfig config = Good("image: {layout: hwc, data_type: uint8, scale: 0.5}\n");
  EXPECT_EQ(config.image->layout, ImageLayout::kHwc);
  EXPECT_TRUE(config.image->as_levels);
  EXPECT_EQ(config.image->scale, 0.5F);
}

TEST(PrepareFieldsTest, WhatBecomesOfScores) {
  EXPECT_EQ(Good("").activation, Activation::kSoftmax);
  EXPECT_FALSE(Good("").threshold.has_value());
  EXPECT_EQ(Good("activation: sigmoid\nthreshold: 0.5\n").activation, Activation::kSigmoid);
  EXPECT_EQ(Good("activation: none\nthreshold: -2.5\n").threshold, -2.5F);
  EXPECT_EQ(Good("activation: softmax\n").activation, Activation::kSoftmax);
}

TEST(PrepareFieldsTest, WrongValueIsNamedWithWhatWasExpected) {
  struct Case {
    std::string yaml, path, value, expected;
  };
  const std::vector<Case> cases = {
      {"image: {layout: nchw}", "image.layout", "\"nchw\"", "chw, hwc"},
      {"image: {data_type: float16}", "image.data_type", "\"float16\"", "float32, uint8"},
      {"image: {scale: 0}", "image.scale", "\"0\"", "above 0"},
      {"image: {scale: 1/255}", "image.scale", "\"1/255\"", "above 0"},
      {"image: {scale: inf}", "image.scale", "\"inf\"", "above 0"},
      {"activation: relu", "activation", "\"relu\"", "softmax, sigmoid, none"},
      {"threshold: nan", "threshold", "\"nan\"", "a finite number"},
      {"threshold: [1]", "threshold", "a list of 1", "a finite number"},
  };
  for (const Case& test : cases) {
    const auto config = ParseModelConfig(test.yaml);
    ASSERT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << test.yaml;
    const std::string message(config.status().message());
    EXPECT_THAT(message, HasSubstr(test.path));
    EXPECT_THAT(message, HasSubstr(test.value));
    EXPECT_THAT(message, HasSubstr(test.expected));
  }
}

TEST(PrepareFieldsTest, SoftmaxAndActivationSayTheSame) {
  const auto config = ParseModelConfig("softmax: true\nactivation: none\n");
  ASSERT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(config.status().message()),
              HasSubstr("both softmax and activation are set"));
}

}  // namespace
}  // namespace torchd
