#include "server/trial/tensor_codec.h"

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

ModelSignature Signature() {
  return {{{"image", DataType::kFloat32, {3, 224, -1}}, {"größe", DataType::kInt64, {}}},
          {{"scores", DataType::kFloat32, {1000}}}};
}

std::vector<Tensor> Tensors() {
  return {{DataType::kFloat32, {1, 2}, std::vector<char>(8, 'x')},
          {DataType::kUint8, {0, 5}, {}},
          {DataType::kInt32, {}, std::vector<char>(4, 'y')}};
}

std::string Encoded() { return EncodeTensors(Signature(), Tensors()); }

std::string ErrorOf(const std::string& bytes) {
  const auto decoded = DecodeTensors(bytes);
  if (decoded.ok()) return "no error";
  EXPECT_EQ(decoded.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(decoded.status().message());
}

// The first place of `from` in the encoded example becomes `to`.
template <typename Number>
std::string Replaced(Number from, Number to) {
  std::string bytes = Encoded();
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(&from), sizeof from));
  EXPECT_NE(at, std::string::npos);
  std::memcpy(bytes.data() + at, &to, sizeof to);
  return bytes;
}

void ExpectSame(const std::vector<TensorSpec>& specs, const std::vector<TensorSpec>& expected) {
  ASSERT_EQ(specs.size(), expected.size());
  for (size_t i = 0; i < specs.size(); ++i) {
    EXPECT_EQ(specs[i].name, expected[i].name);
    EXPECT_EQ(specs[i].type, expected[i].type);
    EXPECT_EQ(specs[i].shape, expected[i].shape);
  }
}

TEST(TensorCodecTest, WhatWasEncodedComesBack) {
  const auto decoded = DecodeTensors(Encoded());
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ExpectSame(decoded->signature.inputs, Signature().inputs);
  ExpectSame(decoded->signature.outputs, Signature().outputs);
  const std::vector<Tensor> expected = Tensors();
  ASSERT_EQ(decoded->tensors.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(decoded->tensors[i].type, expected[i].type);
    EXPECT_EQ(decoded->tensors[i].shape, expected[i].shape);
    EXPECT_EQ(decoded->tensors[i].bytes, expected[i].bytes);
  }
}

TEST(TensorCodecTest, NothingAtAllCanBeEncoded) {
  const auto decoded = DecodeTensors(EncodeTensors({}, {}));
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_THAT(decoded->signature.inputs, IsEmpty());
  EXPECT_THAT(decoded->tensors, IsEmpty());
}

TEST(TensorCodecTest, CutAnywhereIsRefused) {
  const std::string bytes = Encoded();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(ErrorOf(bytes.substr(0, size)), HasSubstr("the bytes end")) << size;
  }
}

TEST(TensorCodecTest, BytesAfterTheEndAreRefused) {
  EXPECT_THAT(ErrorOf(Encoded() + "z"), HasSubstr("end before byte"));
}

TEST(TensorCodecTest, OtherBytesAreRefused) {
  EXPECT_THAT(ErrorOf("PK\x03\x04 a zip file"), HasSubstr("not encoded tensors"));
}

TEST(TensorCodecTest, CountsBeyondTheirLimitAreRefusedBeforeAnythingIsAllocated) {
  const std::string magic = Encoded().substr(0, 4);
  EXPECT_THAT(ErrorOf(magic + "\xff\xff\xff\xff"), HasSubstr("inputs before byte 8"));
  EXPECT_THAT(ErrorOf(Replaced<uint32_t>(5, 1025)), HasSubstr("1025 is more than 1024"));
  EXPECT_THAT(ErrorOf(Replaced<uint32_t>(3, 33)), HasSubstr("33 is more than 32"));
}

TEST(TensorCodecTest, SizesMustBeSizes) {
  EXPECT_THAT(ErrorOf(Replaced<int64_t>(224, -2)), HasSubstr("-2 is no size"));
  EXPECT_THAT(ErrorOf(Replaced<int64_t>(2, -1)), HasSubstr("-1 is no size"));  // Of a tensor.
}

TEST(TensorCodecTest, ShapeOfATensorMustMatchItsBytes) {
  EXPECT_THAT(ErrorOf(Replaced<int64_t>(2, int64_t{1} << 62)), HasSubstr("too large"));
  EXPECT_THAT(ErrorOf(Replaced<int64_t>(2, int64_t{1} << 40)), HasSubstr("the bytes end"));
}

TEST(TensorCodecTest, UnknownDataTypeIsRefused) {
  std::string bytes = Encoded();
  bytes.replace(bytes.find("float32"), 7, "float16");
  EXPECT_THAT(ErrorOf(bytes), HasSubstr("unknown type 'float16'"));
}

TEST(TensorCodecTest, NamesMustBePlainText) {
  for (const char* bad : {"im\nge", "im\xc3ge",
                          "\xff"
                          "mage",
                          "im\xed\xa0\x80",
                          "ima\x7f"
                          "e"}) {
    std::string bytes = Encoded();
    bytes.replace(bytes.find("image"), 5, bad);
    EXPECT_THAT(ErrorOf(bytes), HasSubstr("not UTF-8")) << bad;
  }
}

// Whatever a hostile trial writes: an error or a consistent value, never a crash (run with asan).
TEST(TensorCodecTest, MutatedBytesDecodeToConsistentTensorsOrAnError) {
  std::mt19937 random(20260101);  // NOLINT(bugprone-random-generator-seed): repeatable on purpose.
  const std::string original = Encoded();
  int accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = original;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < changes; ++i) {
      const size_t at = random() % bytes.size();
      if (random() % 8 == 0) bytes.erase(at, random() % 8);
      if (bytes.empty()) break;
      bytes[at % bytes.size()] = static_cast<char>(random() % 3 == 0 ? 0xff : random());
    }
    const auto decoded = DecodeTensors(bytes);
    if (!decoded.ok()) continue;
    ++accepted;
    for (const Tensor& tensor : decoded->tensors) {
      ASSERT_EQ(BytesOf(tensor.type, tensor.shape), tensor.bytes.size());
    }
    ASSERT_EQ(EncodeTensors(decoded->signature, decoded->tensors), bytes);
  }
  EXPECT_GT(accepted, 100);  // Changed bytes of tensors and sizes of -1 and more are fine.
}

}  // namespace
}  // namespace torchd
