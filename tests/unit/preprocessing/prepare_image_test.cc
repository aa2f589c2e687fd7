// Expected values were computed by torchvision 0.26, not by this code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "server/config/model_config.h"
#include "server/inference/tensor.h"
#include "server/preprocessing/image/crop.h"
#include "tests/unit/preprocessing/image_pictures.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::Ge;
using ::testing::Le;

struct Image {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;
};

absl::StatusOr<Tensor> PrepareImage(const Image& image, const ImageConfig& config,
                                    int orientation = 1) {
  const Pixels pixels(config);
  Crop crop(config, pixels);
  const auto begun = crop.Begin({.width = image.width,
                                 .height = image.height,
                                 .full_width = image.width,
                                 .full_height = image.height,
                                 .orientation = orientation});
  if (!begun.ok()) return begun.status();
  for (size_t y = 0; y < static_cast<size_t>(image.height); ++y) {
    crop.Row(image.rgb.data() + 3 * y * static_cast<size_t>(image.width));
  }
  return crop.Take();
}

// The picture that the expected values below were computed from.
Image Pattern(int width, int height) {
  Image image = {.width = width, .height = height, .rgb = {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.rgb.push_back(static_cast<uint8_t>(x * 37 + y * 11));
      image.rgb.push_back(static_cast<uint8_t>(x * x * 5 + y * 29));
      image.rgb.push_back(static_cast<uint8_t>(x * y * 17 + 91));
    }
  }
  return image;
}

ImageConfig PlainConfig(int resize, int crop, ResizeFilter filter) {
  return {.resize = resize, .crop = crop, .filter = filter, .mean = {0, 0, 0}, .std = {1, 1, 1}};
}

std::vector<float> Floats(const Tensor& tensor) {
  std::vector<float> floats(tensor.bytes.size() / sizeof(float));
  std::memcpy(floats.data(), tensor.bytes.data(), tensor.bytes.size());
  return floats;
}

// In levels of 0 to 255; empty, and a failure, on an error.
std::vector<int> Levels(const Image& image, const ImageConfig& config) {
  const absl::StatusOr<Tensor> tensor = PrepareImage(image, config);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  std::vector<int> levels;
  if (!tensor.ok()) return levels;
  for (float value : Floats(*tensor)) levels.push_back(static_cast<int>(std::lround(value * 255)));
  return levels;
}

struct Resize {
  const char* name;
  ResizeFilter filter;
  int resize;
  int crop;
  std::vector<int> levels;  // Red, green and blue plane of the crop of Pattern(13, 9).
};

class PrepareImageTest : public ::testing::TestWithParam<Resize> {};

TEST_P(PrepareImageTest, EqualsTorchvision) {
  const Resize& resize = GetParam();
  EXPECT_THAT(Levels(Pattern(13, 9), PlainConfig(resize.resize, resize.crop, resize.filter)),
              ElementsAreArray(resize.levels));
}

const Resize kResizes[] = {
    {"SmallerNearest", ResizeFilter::kNearest, 5, 4, {148, 222, 40,  114, 170, 244, 62,  136,
                                                      192, 10,  84,  158, 214, 32,  106, 180,
                                                      80,  180, 64,  244, 138, 238, 122, 46,
                                                      196, 40,  180, 104, 254, 98,  238, 162,
                                                      91,  91,  91,  91,  227, 39,  107, 175,
                                                      107, 243, 123, 3,   243, 191, 139, 87}},
    {"LargerNearest", ResizeFilter::kNearest, 14, 4, {218, 255, 255, 36,  229, 10,  10,  47,
                                                      229, 10,  10,  47,  240, 21,  21,  58,
                                                      212, 11,  11,  76,  241, 40,  40,  105,
                                                      241, 40,  40,  105, 14,  69,  69,  134,
                                                      90,  141, 141, 192, 175, 243, 243, 55,
                                                      175, 243, 243, 55,  4,   89,  89,  174}},
    {"SmallerBilinear", ResizeFilter::kBilinear, 5, 4, {157, 167, 43,  111, 174, 184, 60,  128,
                                                        195, 103, 81,  149, 202, 80,  102, 170,
                                                        103, 168, 114, 138, 148, 141, 122, 124,
                                                        184, 89,  135, 113, 157, 96,  153, 116,
                                                        125, 131, 150, 99,  138, 100, 152, 129,
                                                        108, 150, 122, 90,  144, 111, 103, 126}},
    {"LargerBilinear", ResizeFilter::kBilinear, 14, 4, {219, 237, 178, 41,  222, 133, 74,  44,
                                                        228, 85,  26,  50,  235, 92,  33,  57,
                                                        208, 77,  33,  75,  227, 96,  52,  94,
                                                        165, 88,  70,  112, 23,  53,  89,  131,
                                                        94,  127, 159, 186, 149, 190, 174, 102,
                                                        122, 170, 161, 96,  12,  67,  119, 168}},
    {"SmallerBicubic", ResizeFilter::kBicubic, 5, 4, {166, 168, 32,  110, 185, 191, 51,  129,
                                                      207, 101, 71,  149, 213, 75,  93,  171,
                                                      101, 176, 111, 136, 158, 139, 118, 129,
                                                      193, 82,  135, 112, 158, 88,  161, 110,
                                                      126, 133, 155, 98,  137, 94,  160, 126,
                                                      100, 154, 124, 84,  149, 107, 101, 133}},
    {"LargerBicubic", ResizeFilter::kBicubic, 14, 4, {219, 251, 190, 39,  224, 122, 57,  44,
                                                      229, 60,  0,   49,  237, 81,  13,  57,
                                                      211, 63,  10,  75,  249, 84,  23,  94,
                                                      176, 80,  56,  112, 16,  42,  88,  131,
                                                      94,  128, 161, 190, 169, 225, 191, 90,
                                                      131, 191, 175, 85,  5,   54,  127, 175}},
    {"PaddedBilinear",
     ResizeFilter::kBilinear,
     3,
     5,
     {0,   0,   0,   0,   0,   67,  161, 94, 149, 0,   97, 165, 98,  179, 0,   127, 142, 105, 173,
      0,   0,   0,   0,   0,   0,   0,   0,  0,   0,   0,  53,  125, 129, 130, 0,   133, 149, 121,
      123, 0,   197, 127, 127, 119, 0,   0,  0,   0,   0,  0,   0,   0,   0,   0,   0,   120, 131,
      140, 111, 0,   133, 125, 123, 112, 0,  137, 119, 98, 115, 0,   0,   0,   0,   0,   0}},
};
INSTANTIATE_TEST_SUITE_P(Resizes, PrepareImageTest, ::testing::ValuesIn(kResizes),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(PrepareImageOnceTest, NormalisesPaddingToo) {
  const Image image = {.width = 1, .height = 1, .rgb = {255, 0, 51}};
  ImageConfig config = PlainConfig(1, 3, ResizeFilter::kBilinear);
  config.mean = {0.5F, 0.25F, 0.0F};
  config.std = {0.5F, 0.5F, 0.1F};
  const absl::StatusOr<Tensor> tensor = PrepareImage(image, config);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->type, DataType::kFloat32);
  EXPECT_THAT(tensor->shape, ElementsAreArray({3, 3, 3}));
  const std::vector<float> floats = Floats(*tensor);
  ASSERT_EQ(floats.size(), 27U);
  EXPECT_FLOAT_EQ(floats[0], -1.0F);
  EXPECT_FLOAT_EQ(floats[4], 1.0F);
  EXPECT_FLOAT_EQ(floats[9], -0.5F);
  EXPECT_FLOAT_EQ(floats[13], -0.5F);
  EXPECT_FLOAT_EQ(floats[18], 0.0F);
  EXPECT_FLOAT_EQ(floats[22], 2.0F);
}

// Resized whole, this picture would have 655 million pixels.
TEST(PrepareImageOnceTest, CostsOfWidePictureAreThoseOfItsCrop) {
  Image image = {.width = 10'000, .height = 2, .rgb = {}};
  image.rgb.assign(size_t{3} * image.width * image.height, 200);
  for (ResizeFilter filter :
       {ResizeFilter::kNearest, ResizeFilter::kBilinear, ResizeFilter::kBicubic}) {
    const std::vector<int> levels = Levels(image, PlainConfig(256, 224, filter));
    EXPECT_EQ(levels.size(), size_t{3} * 224 * 224);
    EXPECT_THAT(levels, Each(200));
  }
}

// Once the first row of a crop lay exactly on a source row, and the row before that one, which the
// second row needs, had been passed over.
TEST(PrepareImageOnceTest, SmallCropIsCentreOfLargerOne) {
  const Image image = Pattern(5, 400);
  for (bool antialias : {true, false}) {
    ImageConfig config = PlainConfig(299, 299, ResizeFilter::kBicubic);
    config.antialias = antialias;
    const std::vector<int> large = Levels(image, config);
    for (config.crop = 1; config.crop < 299; config.crop += 2) {
      const std::vector<int> small = Levels(image, config);
      const int edge = (299 - config.crop) / 2;
      // Halves round to the even neighbour, so the small crop may lie one row further down.
      const int shift = static_cast<int>(std::nearbyint((23'920 - config.crop) / 2.0) -
                                         std::nearbyint((23'920 - 299) / 2.0)) -
                        edge;
      for (int y = 0; y < config.crop && y + edge + shift < 299; ++y) {
        const auto from = small.begin() + y * config.crop;
        const auto same = large.begin() + (y + edge + shift) * 299 + edge;
        ASSERT_TRUE(std::equal(from, from + config.crop, same))
            << "crop " << config.crop << ", row " << y;
      }
    }
  }
}

// Without antialias a shrunk picture takes neighbours only, as torch's interpolate() does.
TEST(PrepareImageOnceTest, WithoutAntialiasAveragesNeighboursOnly) {
  Image image = {.width = 8, .height = 8, .rgb = {}};
  for (int y = 0; y < 8; ++y) {
    for (int x = 0; x < 8; ++x) image.rgb.insert(image.rgb.end(), 3, (x % 4 == 0) ? 255 : 0);
  }
  ImageConfig config = PlainConfig(2, 2, ResizeFilter::kBilinear);
  config.antialias = false;
  EXPECT_THAT(Levels(image, config), Each(0));
  config.antialias = true;
  EXPECT_THAT(Levels(image, config), Each(AllOf(Ge(40), Le(80))));
}

TEST(PrepareImageOnceTest, RefusesWhatItCannotPrepare) {
  const Image image = Pattern(4, 4);
  ExpectRefused(PrepareImage(image, PlainConfig(0, 4, ResizeFilter::kBilinear)).status(),
                "image.resize is 0; 1 to 16384 expected");
  ExpectRefused(PrepareImage(image, PlainConfig(4, 16'385, ResizeFilter::kBilinear)).status(),
                "image.crop is 16385; 1 to 16384 expected");
}

// As a viewer turns it: pixel (x, y) of the file to its place in the upright picture.
Image Upright(const Image& image, int orientation) {
  const bool turned = orientation > 4;
  Image upright = {.width = turned ? image.height : image.width,
                   .height = turned ? image.width : image.height,
                   .rgb = image.rgb};
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const int right = image.width - 1 - x;
      const int below = image.height - 1 - y;
      const std::array<std::array<int, 2>, 8> places = {{{x, y},
                                                         {right, y},
                                                         {right, below},
                                                         {x, below},
                                                         {y, x},
                                                         {below, x},
                                                         {below, right},
                                                         {y, right}}};
      const auto [to_x, to_y] = places[static_cast<size_t>(orientation) - 1];
      const auto from = image.rgb.begin() + ptrdiff_t{3} * (y * image.width + x);
      std::copy(from, from + 3, upright.rgb.begin() + ptrdiff_t{3} * (to_y * upright.width + to_x));
    }
  }
  return upright;
}

// Pillow turns first; here rows are turned as they come, to the same numbers.
TEST(PrepareImageTest, TurnedPictureEqualsTheUprightOne) {
  for (const auto& [width, height] : {std::pair{23, 14}, {9, 40}, {3, 2}}) {
    const Image image = Pattern(width, height);
    for (int orientation = 1; orientation <= 8; ++orientation) {
      for (const auto& [resize, crop] : {std::pair{6, 4}, {17, 12}, {5, 9}}) {
        for (const ResizeFilter filter :
             {ResizeFilter::kNearest, ResizeFilter::kBilinear, ResizeFilter::kBicubic}) {
          for (const bool antialias : {true, false}) {
            ImageConfig config = PlainConfig(resize, crop, filter);
            config.antialias = antialias;
            config.layout = orientation % 2 == 0 ? ImageLayout::kHwc : ImageLayout::kChw;
            const auto turned = PrepareImage(image, config, orientation);
            const auto upright = PrepareImage(Upright(image, orientation), config);
            ASSERT_TRUE(turned.ok() && upright.ok());
            ASSERT_EQ(turned->bytes, upright->bytes)
                << width << "x" << height << ", orientation " << orientation << ", to " << resize
                << ", crop " << crop << ", antialias " << antialias;
          }
        }
      }
    }
  }
}

// However large a picture is, what is held of it grows with its width alone, and by little.
TEST(PrepareImageTest, HoldsAWindowOfRows) {
  const ImageConfig config = PlainConfig(256, 224, ResizeFilter::kBilinear);
  const Pixels pixels(config);
  for (const int orientation : {1, 6}) {
    const auto bytes = Crop(config, pixels)
                           .Begin({.width = 6000,
                                   .height = 4000,
                                   .full_width = 6000,
                                   .full_height = 4000,
                                   .orientation = orientation});
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_LT(*bytes, 600'000) << orientation;  // Of 72 MB.
    EXPECT_GT(*bytes, 20'000) << orientation;
  }
}

TEST(PrepareImageTest, LayoutAndTypeAreThoseOfTheModel) {
  const Image image = Pattern(9, 7);
  ImageConfig config = PlainConfig(6, 8, ResizeFilter::kBilinear);  // With zeros around it.
  const std::vector<int> planar = Levels(image, config);
  config.layout = ImageLayout::kHwc;
  const std::vector<int> interleaved = Levels(image, config);
  config.as_levels = true;
  const auto tensor = PrepareImage(image, config);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->shape, Shape({8, 8, 3}));
  ASSERT_EQ(tensor->bytes.size(), planar.size());
  for (size_t i = 0; i < planar.size(); ++i) {
    const size_t channel = i / 64;
    const size_t pixel = i % 64;
    EXPECT_EQ(interleaved[3 * pixel + channel], planar[i]);
    EXPECT_EQ(static_cast<uint8_t>(tensor->bytes[3 * pixel + channel]), planar[i]);
  }
}

}  // namespace
}  // namespace torchd
