// Expected values were computed by Pillow 12.3, not by this code.
#include "server/preprocessing/image/decoders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/preprocessing/image/crop.h"
#include "server/preprocessing/image/image.h"
#include "tests/unit/preprocessing/image_pictures.h"
#include "tests/unit/preprocessing/recording_sink.h"

namespace torchd {
namespace {

using ::testing::ElementsAreArray;

ImageConfig Levels(int resize, int crop) {
  ImageConfig config;
  config.layout = ImageLayout::kHwc;
  config.as_levels = true;
  config.resize = resize;
  config.crop = crop;
  return config;
}

absl::StatusOr<Tensor> Prepare(absl::string_view bytes, const ImageConfig& config,
                               const ImageLimits& limits = {}) {
  return PrepareImage(bytes, limits, config, Pixels(config));
}

absl::Status DecodeStatus(absl::string_view bytes, const ImageLimits& limits = {}) {
  return Prepare(bytes, Levels(2, 2), limits).status();
}

std::string DataFile(const std::string& name) {
  std::ifstream file(std::string(TORCHD_SOURCE_DIR) + "/tests/data/" + name, std::ios::binary);
  std::stringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

class DecodePictureTest : public ::testing::TestWithParam<Picture> {};

// At its own size, with zeros around: the crop is as long as the longer side.
TEST_P(DecodePictureTest, EqualsPillow) {
  const Picture& picture = GetParam();
  const int side = std::max(picture.width, picture.height);
  const ImageConfig config = Levels(std::min(picture.width, picture.height), side);
  const auto tensor = Prepare(absl::HexStringToBytes(picture.hex), config);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  std::vector<int> padded(3 * static_cast<size_t>(side) * side, 0);
  const int left = (side - picture.width) / 2;
  const int top = (side - picture.height) / 2;
  for (int y = 0; y < picture.height; ++y) {
    const auto row = picture.rgb.begin() + ptrdiff_t{3} * picture.width * y;
    std::copy(row, row + 3 * picture.width,
              padded.begin() + ptrdiff_t{3} * (side * (top + y) + left));
  }
  std::vector<int> levels;
  for (const char level : tensor->bytes) levels.push_back(static_cast<uint8_t>(level));
  EXPECT_EQ(levels, padded);
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
      const auto tensor = Prepare(damaged, Levels(3, 4), limits);
      if (tensor.ok()) {
        EXPECT_EQ(tensor->bytes.size(), size_t{3} * 4 * 4);
      } else {
        EXPECT_EQ(tensor.status().code(), absl::StatusCode::kInvalidArgument) << tensor.status();
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
  RecordingSink sink;
  ASSERT_TRUE(DecodePng(DataFile("../fuzz/corpus/image/interlaced.png"), {}, sink).ok());
  EXPECT_THAT(sink.rgb(), ElementsAreArray({0x11, 0x11, 0x11, 0x22, 0x22, 0x22,  //
                                            0x33, 0x33, 0x33, 0x44, 0x44, 0x44}));
}

// Rows are turned as they come, wherever the file says which way.
TEST(DecodeImageTest, OrientationMayStandBehindThePixels) {
  const std::string bytes = BytesOfPicture("TurnedPng");
  ASSERT_EQ(bytes.substr(37, 4), "eXIf");
  const size_t chunk = 12 + 26;
  const size_t end = bytes.size() - 12;
  const std::string behind = bytes.substr(0, 33) + bytes.substr(33 + chunk, end - 33 - chunk) +
                             bytes.substr(33, chunk) + bytes.substr(end);
  const auto expected = Prepare(bytes, Levels(2, 3));
  const auto got = Prepare(behind, Levels(2, 3));
  ASSERT_TRUE(expected.ok() && got.ok()) << got.status();
  EXPECT_EQ(got->bytes, expected->bytes);
}

int ShrinkOf(const std::string& bytes, int shorter_side) {
  RecordingSink sink;
  EXPECT_TRUE(DecodeJpeg(bytes, {}, shorter_side, sink).ok());
  EXPECT_EQ(sink.shape().full_width, 240);
  EXPECT_EQ(sink.shape().width, 240 / sink.shape().shrink);
  EXPECT_EQ(sink.rgb().size(), size_t{3} * sink.shape().width * sink.shape().height);
  return sink.shape().shrink;
}

// A picture very much larger than needed is decoded at a fraction of its size, and what becomes of
// it stays the same.
TEST(DecodeImageTest, MuchTooLargeJpegIsDecodedSmaller) {
  const std::string bytes = DataFile("../fuzz/corpus/image/large-grey.jpg");  // 240x180
  EXPECT_EQ(ShrinkOf(bytes, 8), 1);  // 180 is less than 24 times that.
  for (const int side : {7, 3, 1}) {
    const int shrink = side == 7 ? 2 : side == 3 ? 4 : 8;
    EXPECT_EQ(ShrinkOf(bytes, side), shrink);
    const ImageConfig config = Levels(side, side);
    RecordingSink full;
    ASSERT_TRUE(DecodeJpeg(bytes, {}, 0, full).ok());
    const Pixels pixels(config);
    Crop crop(config, pixels);
    ASSERT_TRUE(crop.Begin(full.shape()).ok());
    for (int y = 0; y < full.shape().height; ++y) crop.Row(full.rgb().data() + y * 3 * 240);
    const Tensor expected = crop.Take();
    const auto got = Prepare(bytes, config);
    ASSERT_TRUE(got.ok()) << got.status();
    for (size_t i = 0; i < got->bytes.size(); ++i) {
      EXPECT_NEAR(static_cast<uint8_t>(expected.bytes[i]), static_cast<uint8_t>(got->bytes[i]), 2);
    }
  }
}

// Clipping to 0..255 takes back what the encoder's rounding added, but not after pixels have been
// averaged: three levels, once, on sharp lines. Colour at half its resolution is worse.
TEST(DecodeImageTest, CoarselyRoundedJpegIsDecodedInFull) {
  EXPECT_EQ(ShrinkOf(DataFile("../fuzz/corpus/image/large-coarse.jpg"), 1), 1);
  EXPECT_EQ(ShrinkOf(DataFile("../fuzz/corpus/image/large-420.jpg"), 1), 1);
  EXPECT_EQ(ShrinkOf(DataFile("../fuzz/corpus/image/large-444.jpg"), 1), 8);
}

// The whole of it would take 720000 bytes.
TEST(DecodeImageTest, NoMoreThanSomeRowsOfAPictureAreHeld) {
  const ImageLimits limits = {.decoded_bytes_max = 160'000};
  const std::string bytes = DataFile("coffee.jpg");
  const auto tensor = Prepare(bytes, Levels(50, 50), limits);
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->bytes, Prepare(bytes, Levels(50, 50))->bytes);
}

TEST(DecodeImageErrorsTest, RefusesMorePixelsThanAllowed) {
  for (const char* name : {"Jpeg", "AlphaPng", "LosslessWebp"}) {
    EXPECT_TRUE(DecodeStatus(BytesOfPicture(name), {.pixels_max = 6}).ok());
    ExpectRefused(DecodeStatus(BytesOfPicture(name), {.pixels_max = 5}),
                  "of 3x2 pixels; at most 5 pixels are taken");
  }
}

// As the refusal tells it; so many are enough, and one less is not.
int64_t BytesNeeded(const std::string& bytes) {
  const std::string message(DecodeStatus(bytes, {.decoded_bytes_max = 1}).message());
  const size_t number = message.find("pixels needs ");
  if (number == std::string::npos) {
    ADD_FAILURE() << message;
    return 0;
  }
  const int64_t needed = std::atoll(message.c_str() + number + 13);
  EXPECT_TRUE(DecodeStatus(bytes, {.decoded_bytes_max = needed}).ok());
  ExpectRefused(DecodeStatus(bytes, {.decoded_bytes_max = needed - 1}),
                absl::StrCat(needed, " bytes to decode; at most ", needed - 1,
                             " bytes are given (image_decoded_mb_max)"));
  return needed;
}

// Turning costs nothing; what comes in several scans or passes is held whole, and so is a WebP.
TEST(DecodeImageErrorsTest, RefusesMoreBytesThanAllowed) {
  const int64_t jpeg = BytesNeeded(BytesOfPicture("Jpeg"));
  EXPECT_EQ(BytesNeeded(BytesOfPicture("ProgressiveJpeg")), jpeg + 6 * 64 * 2);
  EXPECT_NEAR(BytesNeeded(BytesOfPicture("TurnedJpeg")), jpeg, 64);
  EXPECT_GT(BytesNeeded(DataFile("../fuzz/corpus/image/interlaced.png")), 2 * 2 * 3);
  const int64_t lossy = BytesNeeded(BytesOfPicture("LossyWebp"));
  // A byte of alpha, held apart and in the pixels; then four of what it is coded as, and its codes.
  EXPECT_GE(BytesNeeded(BytesOfPicture("AlphaWebp")), lossy + 3 * 2 * 2);
  EXPECT_GT(BytesNeeded(BytesOfPicture("LosslessWebp")), lossy + 3 * 2 * 4);
}

// Each row costs something, however short: 20 million of one pixel were 1.8 seconds.
TEST(DecodeImageErrorsTest, RefusesMoreThan65535PixelsToASide) {
  ExpectRefused(DecodeStatus(DataFile("../fuzz/corpus/image/too-tall.png")),
                "PNG of 1x65536 pixels; at most 65535 to a side are taken");
}

// Its coefficients are held until the last scan, at whatever size it is decoded.
TEST(DecodeImageErrorsTest, RefusesProgressiveJpegThatDoesNotFit) {
  std::string bytes = BytesOfPicture("ProgressiveJpeg");
  const size_t frame = bytes.find("\xFF\xC2");
  ASSERT_NE(frame, std::string::npos);
  bytes.replace(frame + 5, 4, "\x0F\xA0\x17\x70", 4);
  ExpectRefused(DecodeStatus(bytes), "JPEG of 6000x4000 pixels needs 72");
  ExpectRefused(DecodeStatus(bytes),
                "bytes to decode; at most 67108864 bytes are given (image_decoded_mb_max)");
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
