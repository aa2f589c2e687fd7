#include "server/preprocessing/image/lossless_webp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "server/preprocessing/image/decoders.h"
#include "tests/unit/preprocessing/image_pictures.h"
#include "tests/unit/preprocessing/recording_sink.h"

namespace torchd {
namespace {

class BitWriter {
 public:
  void Write(uint32_t value, int count) {
    for (int i = 0; i < count; ++i, ++at_) {
      if (at_ % 8 == 0) bytes_.push_back('\0');
      bytes_.back() = static_cast<char>(bytes_.back() | (value >> i & 1) << (at_ % 8));
    }
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

// A prefix code of the symbol 0 alone, which takes no bits where it is used.
void WriteZeroCode(BitWriter& bits) {
  bits.Write(0b0001, 4);  // Written out, one symbol, of one bit, which is 0.
}

// A prefix code of eight bits for each of 256 symbols, and none for `others` more.
void WriteBytesCode(uint32_t others, BitWriter& bits) {
  bits.Write(0, 1);
  bits.Write(12 - 4, 4);  // Of the lengths 17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8,
  for (int i = 0; i < 12; ++i) bits.Write(i == 11 || (i == 1 && others > 0) ? 1 : 0, 3);
  bits.Write(0, 1);  // for every symbol.
  if (others == 0) return;
  for (int i = 0; i < 256; ++i) bits.Write(0, 1);  // Eight bits.
  bits.Write(1, 1);                                // None, and so for
  bits.Write(others - 11, 7);
}

void WriteByte(int value, BitWriter& bits) {
  for (int i = 8; i-- > 0;) bits.Write(static_cast<uint32_t>(value >> i & 1), 1);
}

// Black, of `side` by `side` blocks of 4x4 pixels; each block has prefix codes of its own.
std::string PictureOfManyCodes(int side) {
  BitWriter bits;
  bits.Write(0, 1);  // No transform, no cache,
  bits.Write(0, 1);
  bits.Write(1, 1);  // but a picture of which codes
  bits.Write(0, 3);  // each 4x4 pixels use.
  bits.Write(0, 1);
  WriteBytesCode(24, bits);  // Green,
  WriteBytesCode(0, bits);   // red: the number's two bytes.
  for (int i = 0; i < 3; ++i) WriteZeroCode(bits);
  for (int i = 0; i < side * side; ++i) {
    WriteByte(i & 255, bits);
    WriteByte(i >> 8, bits);
  }
  for (int i = 0; i < 5 * side * side; ++i) WriteZeroCode(bits);
  return bits.bytes();
}

std::string FileOf(const std::string& stream, int side) {
  BitWriter head;
  head.Write(0x2F, 8);
  head.Write(static_cast<uint32_t>(4 * side - 1), 14);
  head.Write(static_cast<uint32_t>(4 * side - 1), 14);
  head.Write(0, 4);
  const auto number = [](size_t value) {
    BitWriter bits;
    bits.Write(static_cast<uint32_t>(value), 32);
    return bits.bytes();
  };
  std::string chunk = head.bytes() + stream;
  const size_t size = chunk.size();
  if (size % 2 == 1) chunk += '\0';
  return "RIFF" + number(chunk.size() + 12) + "WEBPVP8L" + number(size) + chunk;
}

// 300 kB of file, and some 800 MB of tables while libwebp decodes it.
TEST(LosslessWebpTest, CountsTheTablesOfManyCodes) {
  const std::string many = PictureOfManyCodes(256);
  const auto bytes = LosslessTableBytes(many, 1024, 1024);
  ASSERT_TRUE(bytes.has_value());
  EXPECT_GT(*bytes, int64_t{65536} * 11'000);
  EXPECT_LT(*bytes, int64_t{65536} * 13'000);
  RecordingSink sink;
  ExpectRefused(DecodeWebp(FileOf(many, 256), {}, sink), "bytes are given (image_decoded_mb_max)");
  EXPECT_TRUE(sink.rgb().empty());
}

// libwebp takes such a picture, so the one above is refused for its memory and nothing else.
TEST(LosslessWebpTest, CodesThatFitAreNoReasonToRefuse) {
  const std::string some = PictureOfManyCodes(40);
  EXPECT_LT(LosslessTableBytes(some, 160, 160).value_or(1 << 30), int64_t{1600} * 13'000);
  RecordingSink sink;
  const absl::Status status = DecodeWebp(FileOf(some, 40), {}, sink);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(sink.rgb(), ::testing::AllOf(::testing::SizeIs(3 * 160 * 160), ::testing::Each(0)));
}

TEST(LosslessWebpTest, OnePictureOfCodesNeedsOneTable) {
  const std::string bytes = BytesOfPicture("LosslessWebp");
  const auto needed = LosslessTableBytes(absl::string_view(bytes).substr(25), 3, 2);
  ASSERT_TRUE(needed.has_value());
  EXPECT_GT(*needed, 11'000);
  EXPECT_LT(*needed, 20'000);
}

TEST(LosslessWebpTest, StreamThatEndsInFrontOfTheCodesIsDamaged) {
  const std::string some = PictureOfManyCodes(8);
  for (size_t size = 0; size < 150; ++size) {
    EXPECT_FALSE(LosslessTableBytes(some.substr(0, size), 32, 32).has_value()) << size;
  }
  EXPECT_TRUE(LosslessTableBytes(some, 32, 32).has_value());
  // A transform that comes twice, and a cache of more bits than there may be.
  EXPECT_FALSE(LosslessTableBytes("\x2D\xFF", 32, 32).has_value());
  EXPECT_FALSE(LosslessTableBytes("\x3E\xFF", 32, 32).has_value());
}

}  // namespace
}  // namespace torchd
