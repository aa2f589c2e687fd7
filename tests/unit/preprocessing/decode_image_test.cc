// Expected values were computed by Pillow 12.3, not by this code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "server/preprocessing/image/image.h"
#include "tests/unit/preprocessing/image_pictures.h"

namespace torchd {
namespace {

using ::testing::ElementsAreArray;

absl::Status DecodeStatus(absl::string_view bytes, const ImageLimits& limits = {}) {
  return DecodeImage(bytes, limits).status();
}

std::string DataFile(const std::string& name) {
  std::ifstream file(std::string(TORCHD_SOURCE_DIR) + "/tests/data/" + name, std::ios::binary);
  std::stringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

class DecodePictureTest : public ::testing::TestWithParam<Picture> {};

TEST_P(DecodePictureTest, EqualsPillow) {
  const Picture& picture = GetParam();
  const absl::StatusOr<Image> image = DecodeImage(absl::HexStringToBytes(picture.hex), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->width, picture.width);
  EXPECT_EQ(image->height, picture.height);
  EXPECT_THAT(image->rgb, ElementsAreArray(picture.rgb));
}

INSTANTIATE_TEST_SUITE_P(Pictures, DecodePictureTest, ::testing::ValuesIn(Pictures()),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(DecodeImageErrorsTest, NamesFirstBytesOfUnknownFormat) {
  ExpectRefused(DecodeStatus("GIF89a..."),
                "none of JPEG, PNG and WebP (starts with 0x474946383961");
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

TEST(DecodeImageErrorsTest, RefusesWhatTakesTooLong) {
  for (const char* name : {"ProgressiveJpeg", "AlphaPng", "LosslessWebp"}) {
    EXPECT_TRUE(DecodeStatus(BytesOfPicture(name), {.time_max = std::chrono::seconds(60)}).ok());
  }
  const ImageLimits none = {.time_max = std::chrono::milliseconds(0)};
  ExpectRefused(DecodeStatus(BytesOfPicture("LosslessWebp"), none),
                "WebP takes longer than 0 ms to decode");
  // The others are looked at every 32 rows.
  ExpectRefused(DecodeStatus(DataFile("cat.jpg"), none), "JPEG takes longer than 0 ms to decode");
  ExpectRefused(DecodeStatus(DataFile("../fuzz/corpus/image/tall.png"), none),
                "PNG takes longer than 0 ms to decode");
}

TEST(DecodeImageErrorsTest, RefusesAnAnimation) {
  ExpectRefused(DecodeStatus(DataFile("../fuzz/corpus/image/moving.webp")),
                "WebP is an animation; a still picture expected");
}

TEST(DecodeImageTest, ReadsTheRowsOfAnInterlacedPngInTheirPlaces) {
  const auto image = DecodeImage(DataFile("../fuzz/corpus/image/interlaced.png"), {});
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_THAT(image->rgb, ElementsAreArray({0x11, 0x11, 0x11, 0x22, 0x22, 0x22,  //
                                            0x33, 0x33, 0x33, 0x44, 0x44, 0x44}));
}

// A picture very much larger than needed is decoded at a fraction of its size, and what becomes of
// it stays the same.
TEST(DecodeImageTest, MuchTooLargeJpegIsDecodedSmaller) {
  const std::string bytes = DataFile("../fuzz/corpus/image/large-grey.jpg");  // 240x180
  const auto full = DecodeImage(bytes, {});
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ(DecodeImage(bytes, {}, 8)->shrink, 1);  // 180 is less than 24 times that.
  for (const int side : {7, 3, 1}) {
    const auto small = DecodeImage(bytes, {}, side);
    ASSERT_TRUE(small.ok()) << small.status();
    EXPECT_EQ(small->shrink, side == 7 ? 2 : side == 3 ? 4 : 8);
    EXPECT_EQ(small->width, 240 / small->shrink);
    EXPECT_EQ(small->full_width, 240);
    ImageConfig config;
    config.resize = side;
    config.crop = side;
    config.std = {1 / 255.0F, 1 / 255.0F, 1 / 255.0F};
    const auto expected = PrepareImage(*full, config);
    const auto got = PrepareImage(*small, config);
    ASSERT_TRUE(expected.ok() && got.ok());
    const auto* a = reinterpret_cast<const float*>(expected->bytes.data());
    const auto* b = reinterpret_cast<const float*>(got->bytes.data());
    for (size_t i = 0; i < got->bytes.size() / sizeof(float); ++i) ASSERT_NEAR(a[i], b[i], 2.01);
  }
}

TEST(DecodeImageTest, JpegThatWouldNotFitIsDecodedSmallerSooner) {
  const std::string bytes = DataFile("coffee.jpg");  // 720000 bytes in full.
  const ImageLimits limits = {.decoded_bytes_max = 400'000};
  const auto small = DecodeImage(bytes, limits, 50);
  ASSERT_TRUE(small.ok()) << small.status();
  EXPECT_EQ(small->shrink, 2);
  EXPECT_EQ(DecodeImage(bytes, {}, 50)->shrink, 1);
  ExpectRefused(DecodeImage(bytes, limits, 51).status(), "at most 400000 bytes are given");
}

TEST(DecodeImageErrorsTest, RefusesMorePixelsThanAllowed) {
  for (const char* name : {"Jpeg", "AlphaPng", "LosslessWebp"}) {
    EXPECT_TRUE(DecodeStatus(BytesOfPicture(name), {.pixels_max = 6}).ok());
    ExpectRefused(DecodeStatus(BytesOfPicture(name), {.pixels_max = 5}),
                  "of 3x2 pixels; at most 5 pixels are taken");
  }
}

TEST(DecodeImageErrorsTest, RefusesMoreBytesThanAllowed) {
  EXPECT_TRUE(DecodeStatus(BytesOfPicture("Jpeg"), {.decoded_bytes_max = 18}).ok());
  ExpectRefused(DecodeStatus(BytesOfPicture("Jpeg"), {.decoded_bytes_max = 17}),
                "at most 17 bytes are given");
  // A JPEG is turned as it is decoded; others keep more than their pixels: the coefficients, alpha,
  // a second copy to turn.
  EXPECT_TRUE(DecodeStatus(BytesOfPicture("TurnedJpeg"), {.decoded_bytes_max = 18}).ok());
  for (const char* name : {"ProgressiveJpeg", "AlphaPng", "TurnedPng"}) {
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

}  // namespace
}  // namespace torchd
