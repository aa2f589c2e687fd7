#include "server/inference/pixels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <vector>

namespace torchd {
namespace {

ImageConfig SmallConfig(ImageLayout layout) {
  ImageConfig config;
  config.crop = 1;
  config.mean = {0, 0.5F, 0};
  config.std = {1, 0.5F, 2};
  config.layout = layout;
  return config;
}

TensorView View(const std::vector<uint8_t>& levels, const Shape& shape) {
  return {DataType::kUint8, shape, levels.data(), levels.size(), nullptr};
}

TEST(PixelsTest, NumbersAreThoseOfToTensorAndNormalize) {
  const Pixels pixels(SmallConfig(ImageLayout::kChw));
  EXPECT_EQ(pixels.Value(0, 255), 1);
  EXPECT_EQ(pixels.Value(0, 51), 51 / 255.0F);
  EXPECT_EQ(pixels.Value(1, 0), -1);
  EXPECT_EQ(pixels.Value(2, 255), 0.5F);
}

TEST(PixelsTest, ScaleTakesThePlaceOfTheDivision) {
  ImageConfig config = SmallConfig(ImageLayout::kChw);
  config.scale = 1.0F;
  EXPECT_EQ(Pixels(config).Value(0, 200), 200);
}

TEST(PixelsTest, InputIsAsTheModelWantsIt) {
  ImageConfig config = SmallConfig(ImageLayout::kHwc);
  config.crop = 8;
  EXPECT_EQ(ImageInput("x", config).shape, Shape({8, 8, 3}));
  EXPECT_EQ(ImageInput("x", config).type, DataType::kFloat32);
  config.as_levels = true;
  config.layout = ImageLayout::kChw;
  EXPECT_EQ(ImageInput("x", config).shape, Shape({3, 8, 8}));
  EXPECT_EQ(ImageInput("x", config).type, DataType::kUint8);
}

TEST(PixelsTest, LevelsComeInEitherLayoutAndLeaveInTheModels) {
  ImageConfig config = SmallConfig(ImageLayout::kChw);
  config.crop = 2;
  config.mean = {0, 0, 0};
  config.std = {1, 1, 1};
  config.scale = 1.0F;
  const std::vector<uint8_t> interleaved = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  const std::vector<uint8_t> planar = {1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12};
  for (const ImageLayout layout : {ImageLayout::kChw, ImageLayout::kHwc}) {
    config.layout = layout;
    const Pixels pixels(config);
    const std::vector<uint8_t>& expected = layout == ImageLayout::kChw ? planar : interleaved;
    for (const auto& view : {View(interleaved, {2, 2, 3}), View(planar, {3, 2, 2})}) {
      ASSERT_TRUE(pixels.AreLevels(view));
      std::vector<float> made(12);
      pixels.Normalise(view, made.data());
      EXPECT_THAT(made, ::testing::ElementsAreArray(expected));
    }
  }
}

TEST(PixelsTest, WhatIsNoSuchPictureIsNotTaken) {
  ImageConfig config = SmallConfig(ImageLayout::kChw);
  config.crop = 2;
  const Pixels pixels(config);
  const std::vector<uint8_t> levels(12);
  EXPECT_FALSE(pixels.AreLevels(View(levels, {2, 3, 2})));
  EXPECT_FALSE(pixels.AreLevels(View(levels, {12})));
  EXPECT_FALSE(pixels.AreLevels(View({1, 2, 3}, {3, 2, 2})));
  TensorView numbers = View(levels, {3, 2, 2});
  numbers.type = DataType::kInt32;
  EXPECT_FALSE(pixels.AreLevels(numbers));
}

}  // namespace
}  // namespace torchd
