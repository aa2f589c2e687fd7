// Expected values were computed by Pillow 12.3 and torchvision 0.26, not by this code.
#include "server/preprocessing/image/image.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "server/config/model_config.h"
#include "server/inference/tensor.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAreArray;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

struct Picture {
  const char* name;
  const char* hex;  // Of the file.
  int width;
  int height;
  std::vector<int> rgb;
};

const std::vector<Picture>& Pictures() {
  static const auto* const kPictures = new std::vector<Picture>{
      {"Jpeg",
       "ffd8ffe000104a46494600010100000100010000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f1320151312"
       "1213271c1e17202e2931302e292d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a5152"
       "4fffdb0043010e0e0e131113261515264f352d354f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f"
       "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4fffc000110800020003030122000211010311"
       "01ffc4001500010100000000000000000000000000000006ffc4001a10000202030000000000000000000000"
       "0000020413223151ffc4001501010100000000000000000000000000000405ffc40017110003010000000000"
       "000000000000000000013102ffda000c03010002110311003f00948e894260bae000a2e88cc47fffd9",
       3,
       2,
       {8, 0, 70, 27, 15, 89, 57, 25, 101, 30, 18, 92, 49, 37, 111, 79, 47, 123}},
      {"GreyJpeg",
       "ffd8ffe000104a46494600010100000100010000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f1320151312"
       "1213271c1e17202e2931302e292d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a5152"
       "4fffc0000b080002000301011100ffc40014000100000000000000000000000000000006ffc4001a10010001"
       "0500000000000000000000000002000413223151ffda0008010100003f00294e058181d727ffd9",
       3,
       2,
       {8, 8, 8, 27, 27, 27, 43, 43, 43, 30, 30, 30, 49, 49, 49, 65, 65, 65}},
      {"CmykJpeg",
       "ffd8ffee000e41646f626500640000000000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f13201513121213"
       "271c1e17202e2931302e292d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a51524fff"
       "c000140800020003044311004d11005911004b1100ffc4001600010101000000000000000000000000000604"
       "07ffc40020100002020006030000000000000000000001020003051113142122325191ffda000e0443004d00"
       "59004b00003f003787a8d853c0f1826aad34d7a2fc93d15a1a54945272f534e9ffd9",
       3,
       2,
       {0, 1, 80, 39, 10, 92, 73, 20, 99, 7, 23, 95, 46, 32, 109, 80, 42, 119}},
      {"ProgressiveJpeg",
       "ffd8ffe000104a46494600010100000100010000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f1320151312"
       "1213271c1e17202e2931302e292d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a5152"
       "4fffdb0043010e0e0e131113261515264f352d354f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f"
       "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4fffc200110800020003030122000211010311"
       "01ffc4001500010100000000000000000000000000000005ffc4001501010100000000000000000000000000"
       "000304ffda000c0301000210031000000192284fffc4001510010100000000000000000000000000000231ff"
       "da000801010001050233ffc4001511010100000000000000000000000000000001ffda0008010301013f018f"
       "ffc40014110100000000000000000000000000000000ffda0008010201013f017fffc4001410010000000000"
       "0000000000000000000000ffda0008010100063f027fffc40017100100030000000000000000000000000001"
       "001121ffda0008010100013f2105709fffda000c03010002000300000010fbffc40016110003000000000000"
       "0000000000000000000131ffda0008010301013f10847fffc400161100030000000000000000000000000000"
       "000131ffda0008010201013f1074ffc400161000030000000000000000000000000000005161ffda00080101"
       "00013f108f91ffd9",
       3,
       2,
       {8, 0, 70, 27, 15, 89, 57, 25, 101, 30, 18, 92, 49, 37, 111, 79, 47, 123}},
      {"TurnedJpeg",
       "ffd8ffe000104a46494600010100000100010000ffe100224578696600004d4d002a00000008000101120003"
       "000000010006000000000000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f13201513121213271c1e17202e"
       "2931302e292d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a51524fffdb0043010e0e"
       "0e131113261515264f352d354f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f"
       "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4fffc00011080002000303012200021101031101ffc40015000101"
       "00000000000000000000000000000006ffc4001a100002020300000000000000000000000000020413223151"
       "ffc4001501010100000000000000000000000000000405ffc400171100030100000000000000000000000000"
       "00013102ffda000c03010002110311003f00948e894260bae000a2e88cc47fffd9",
       2,
       3,
       {30, 18, 92, 8, 0, 70, 49, 37, 111, 27, 15, 89, 79, 47, 123, 57, 25, 101}},
      {"TurnedLittleEndianJpeg",
       "ffd8ffe000104a46494600010100000100010000ffe1002245786966000049492a0008000000010012010300"
       "010000000600000000000000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f13201513121213271c1e17202e"
       "2931302e292d2c333a4a3e333646372c2d405741464c4e525352323e5a615a50604a51524fffdb0043010e0e"
       "0e131113261515264f352d354f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f"
       "4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4f4fffc00011080002000303012200021101031101ffc40015000101"
       "00000000000000000000000000000006ffc4001a100002020300000000000000000000000000020413223151"
       "ffc4001501010100000000000000000000000000000405ffc400171100030100000000000000000000000000"
       "00013102ffda000c03010002110311003f00948e894260bae000a2e88cc47fffd9",
       2,
       3,
       {30, 18, 92, 8, 0, 70, 49, 37, 111, 27, 15, 89, 79, 47, 123, 57, 25, 101}},
      {"AlphaPng",
       "89504e470d0a1a0a0000000d49484452000000030000000208060000009d74661a000000224944415478da63"
       "646088665065653056e5673066e1966598c9cd2a68cccd2f680c001f790298de8856880000000049454e44ae"
       "426082",
       3,
       2,
       {255, 255, 255, 211, 205, 222, 183, 161, 189, 109, 119, 157, 89, 78, 137, 85, 49, 125}},
      {"PalettePng",
       "89504e470d0a1a0a0000000d49484452000000030000000204030000006f5a7b2900000012504c544555317d"
       "30226c4a145b0b1d5b25055b00005b32e1329f0000000e4944415478da630ef9c6cc7e0300068302302aa2b1"
       "160000000049454e44ae426082",
       3,
       2,
       {0, 0, 91, 37, 5, 91, 74, 20, 91, 11, 29, 91, 48, 34, 108, 85, 49, 125}},
      {"TransparentPalettePng",
       "89504e470d0a1a0a0000000d49484452000000030000000204030000006f5a7b2900000012504c544555317d"
       "30226c4a145b0b1d5b25055b00005b32e1329f0000000674524e53003c78b4f0ff5f1582990000000e494441"
       "5478da630ef9c6cc7e0300068302302aa2b1160000000049454e44ae426082",
       3,
       2,
       {0, 0, 91, 50, 20, 101, 170, 144, 178, 83, 95, 139, 206, 203, 220, 255, 255, 255}},
      {"SixteenBitGreyPng",
       "89504e470d0a1a0a0000000d4948445200000003000000021000000000e88fe585000000164944415478da63"
       "606060f8cfc8c050ffbf81e1ff7f0016ff04fdf44c1cae0000000049454e44ae426082",
       3,
       2,
       {0, 0, 0, 0, 0, 0, 1, 1, 1, 127, 127, 127, 128, 128, 128, 255, 255, 255}},
      {"TurnedPng",
       "89504e470d0a1a0a0000000d49484452000000030000000208020000001216f14d0000001a655849664d4d00"
       "2a00000008000101120003000000010006000000000000d6674b690000001c4944415478da63646088566565"
       "50e56760e19665e06615e4e61704000dc501335356b5a70000000049454e44ae426082",
       2,
       3,
       {11, 29, 91, 0, 0, 91, 48, 34, 108, 37, 5, 91, 85, 49, 125, 74, 20, 91}},
  };
  return *kPictures;
}

std::string BytesOfPicture(absl::string_view name) {
  for (const Picture& picture : Pictures()) {
    if (name == picture.name) return absl::HexStringToBytes(picture.hex);
  }
  ADD_FAILURE() << "no picture named " << name;
  return "";
}

absl::Status DecodeStatus(absl::string_view bytes, const ImageLimits& limits = {}) {
  return DecodeImage(bytes, limits).status();
}

void ExpectRefused(const absl::Status& status, const std::string& message) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

class DecodeImageTest : public ::testing::TestWithParam<Picture> {};

TEST_P(DecodeImageTest, EqualsPillow) {
  const Picture& picture = GetParam();
  const absl::StatusOr<Image> image = DecodeImage(absl::HexStringToBytes(picture.hex), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->width, picture.width);
  EXPECT_EQ(image->height, picture.height);
  EXPECT_THAT(image->rgb, ElementsAreArray(picture.rgb));
}

INSTANTIATE_TEST_SUITE_P(Pictures, DecodeImageTest, ::testing::ValuesIn(Pictures()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(DecodeImageErrorsTest, NamesFirstBytesOfUnknownFormat) {
  ExpectRefused(DecodeStatus("GIF89a..."), "neither JPEG nor PNG (starts with 0x474946383961");
  ExpectRefused(DecodeStatus(""), "item is empty");
}

// No prefix of a file may crash, hang or pass for the whole picture.
TEST(DecodeImageErrorsTest, RefusesTruncatedFiles) {
  for (const Picture& picture : Pictures()) {
    const std::string bytes = absl::HexStringToBytes(picture.hex);
    // What ends a file (EOI, IEND and some padding bits) may be missing without loss.
    for (size_t size = 0; size + 24 < bytes.size(); ++size) {
      const absl::Status status = DecodeStatus(bytes.substr(0, size));
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
          << picture.name << " cut to " << size << ": " << status;
    }
  }
}

// Whatever damage does, the answer is a picture within the limits or INVALID_ARGUMENT.
TEST(DecodeImageErrorsTest, SurvivesEveryDamagedByte) {
  const ImageLimits limits = {.pixels_max = 100'000};
  for (const Picture& picture : Pictures()) {
    const std::string bytes = absl::HexStringToBytes(picture.hex);
    for (size_t i = 0; i < bytes.size(); ++i) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ 0xFF);
      const absl::StatusOr<Image> image = DecodeImage(damaged, limits);
      if (image.ok()) {
        EXPECT_EQ(image->rgb.size(), size_t{3} * image->width * image->height);
      } else {
        EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument) << image.status();
      }
    }
  }
}

TEST(DecodeImageErrorsTest, RefusesMorePixelsThanAllowed) {
  for (const char* name : {"Jpeg", "AlphaPng"}) {
    EXPECT_TRUE(DecodeStatus(BytesOfPicture(name), {.pixels_max = 6}).ok());
    ExpectRefused(DecodeStatus(BytesOfPicture(name), {.pixels_max = 5}),
                  "of 3x2 pixels; at most 5 pixels are taken");
  }
}

TEST(DecodeImageErrorsTest, RefusesMoreBytesThanAllowed) {
  EXPECT_TRUE(DecodeStatus(BytesOfPicture("Jpeg"), {.decoded_bytes_max = 18}).ok());
  ExpectRefused(DecodeStatus(BytesOfPicture("Jpeg"), {.decoded_bytes_max = 17}),
                "at most 17 bytes are given");
  // These keep more than their pixels: the coefficients, alpha, a second copy to turn.
  for (const char* name : {"ProgressiveJpeg", "AlphaPng", "TurnedJpeg"}) {
    ExpectRefused(DecodeStatus(BytesOfPicture(name), {.decoded_bytes_max = 18}),
                  "at most 18 bytes are given");
  }
}

// The header of a PNG of 2^31-1 by 2^31-1 pixels must not cost their memory.
TEST(DecodeImageErrorsTest, RefusesHugeHeaderOfSmallFile) {
  std::string bytes = BytesOfPicture("AlphaPng");
  bytes.replace(16, 8, "\x7F\xFF\xFF\xFF\x7F\xFF\xFF\xFF");
  EXPECT_EQ(DecodeStatus(bytes).code(), absl::StatusCode::kInvalidArgument);
  std::string jpeg = BytesOfPicture("Jpeg");
  const size_t frame = jpeg.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, "\xFF\x00\xFF\x00", 4);
  ExpectRefused(DecodeStatus(jpeg), "JPEG of 65280x65280 pixels; at most 40000000");
}

// A scan costs a client a few bytes and a server a walk over the picture.
TEST(DecodeImageErrorsTest, RefusesJpegOfManyScans) {
  const std::string bytes = BytesOfPicture("ProgressiveJpeg");
  const size_t scan = bytes.find("\xFF\xDA");
  const size_t next = bytes.find("\xFF\xC4", scan);
  ASSERT_NE(next, std::string::npos);
  std::string repeated = bytes.substr(0, next);
  for (int i = 0; i < 200; ++i) repeated += bytes.substr(scan, next - scan);
  repeated += bytes.substr(next);
  ExpectRefused(DecodeStatus(repeated), "more than 100 scans");
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
  ExpectRefused(PrepareImage({}, PlainConfig(4, 4, ResizeFilter::kBilinear)).status(),
                "image of 0x0 pixels");
}

}  // namespace
}  // namespace torchd
