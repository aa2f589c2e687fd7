#include "server/offline/tensor_file.h"

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const TensorSpec kFixed = {"x", DataType::kFloat32, {2, 3}};
const TensorSpec kOpen = {"ids", DataType::kInt64, {-1}};
const TensorSpec kPicture = {"picture", DataType::kFloat32, {3, -1, -1}};

std::string Zeros(size_t bytes) { return std::string(bytes, '\0'); }

std::string Npy(const std::string& header, const std::string& data, char version = 1) {
  std::string file = "\x93NUMPY";
  file += version;
  file += '\0';
  file += static_cast<char>(header.size() & 0xFF);
  file += static_cast<char>(header.size() >> 8);
  if (version > 1) file += Zeros(2);
  return file + header + data;
}

std::string Header(const std::string& type, const std::string& shape,
                   const std::string& order = "False") {
  return absl::StrCat("{'descr': '", type, "', 'fortran_order': ", order, ", 'shape': ", shape,
                      ", }      \n");
}

Shape ShapeOf(const std::string& bytes, const TensorSpec& input) {
  const auto tensor = ParseTensorFile({bytes.data(), bytes.size()}, "f", input);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  return tensor.ok() ? tensor->shape : Shape();
}

std::string Wrong(const std::string& bytes, const TensorSpec& input) {
  const auto tensor = ParseTensorFile({bytes.data(), bytes.size()}, "f", input);
  EXPECT_EQ(tensor.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tensor.status().message());
}

TEST(TensorFileTest, RawElementsAreThoseOfTheFile) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6};
  std::string bytes(24, '\0');
  std::memcpy(bytes.data(), values.data(), 24);
  const auto tensor = ParseTensorFile({bytes.data(), bytes.size()}, "f", kFixed);
  ASSERT_TRUE(tensor.ok());
  EXPECT_EQ(tensor->type, DataType::kFloat32);
  EXPECT_THAT(tensor->shape, ElementsAre(2, 3));
  EXPECT_EQ(std::memcmp(tensor->bytes.data(), values.data(), 24), 0);
}

TEST(TensorFileTest, ARawFileTellsOneOpenSize) {
  EXPECT_THAT(ShapeOf(Zeros(56), kOpen), ElementsAre(7));
  EXPECT_THAT(Wrong(Zeros(57), kOpen), HasSubstr("got 57 bytes, expected a multiple of 8"));
  EXPECT_THAT(Wrong("", kOpen), HasSubstr("got 0 bytes"));
  EXPECT_THAT(Wrong(Zeros(12), kPicture), HasSubstr("expected a .npy file"));
}

TEST(TensorFileTest, ARawFileOfAnotherSizeIsRefusedWithTheExpectedBytes) {
  for (const size_t bytes : {size_t{0}, size_t{23}, size_t{25}}) {
    EXPECT_EQ(Wrong(Zeros(bytes), kFixed), absl::StrCat("f for input 'x', float32[2,3]: got ",
                                                        bytes, " bytes of elements, expected 24"));
  }
}

TEST(TensorFileTest, NpyFilesOfBothVersionsAndWithOrWithoutTheBatch) {
  EXPECT_THAT(ShapeOf(Npy(Header("<f4", "(2, 3)"), Zeros(24)), kFixed), ElementsAre(2, 3));
  EXPECT_THAT(ShapeOf(Npy(Header("<f4", "(1, 2, 3)"), Zeros(24), 2), kFixed), ElementsAre(2, 3));
  EXPECT_THAT(ShapeOf(Npy(Header("<i8", "(5,)"), Zeros(40)), kOpen), ElementsAre(5));
  EXPECT_THAT(ShapeOf(Npy(Header("<f4", "(3, 4, 5)"), Zeros(240)), kPicture), ElementsAre(3, 4, 5));
}

TEST(TensorFileTest, NpyFilesThatDoNotFitAreRefused) {
  EXPECT_THAT(Wrong(Npy(Header("<f8", "(2, 3)"), Zeros(48)), kFixed),
              HasSubstr("of type '<f8', expected '<f4'"));
  EXPECT_THAT(Wrong(Npy(Header("<f4", "(2, 3)", "True"), Zeros(24)), kFixed),
              HasSubstr("Fortran order"));
  EXPECT_THAT(Wrong(Npy(Header("<f4", "(4, 2, 3)"), Zeros(96)), kFixed),
              HasSubstr("of shape [4,2,3], expected one row"));
  EXPECT_THAT(Wrong(Npy(Header("<f4", "(2, 3)"), Zeros(20)), kFixed),
              HasSubstr("got 20 bytes of elements, expected 24"));
  EXPECT_THAT(Wrong(Npy(Header("<i8", "(0,)"), ""), kOpen), HasSubstr("the size '0'"));
}

// Cut anywhere, or with any byte changed, a file is a tensor or an error, and never a crash.
TEST(TensorFileTest, DamagedNpyFilesAreErrors) {
  const std::string good = Npy(Header("<f4", "(2, 3)"), Zeros(24));
  for (size_t size = 6; size < good.size(); ++size) {
    EXPECT_FALSE(ParseTensorFile({good.data(), size}, "f", kFixed).ok()) << size;
  }
  for (size_t at = 6; at < good.size(); ++at) {
    for (const char odd : {'\0', '\x7F', '\xFF', '9', ')', '\''}) {
      std::string bad = good;
      bad[at] = odd;
      const auto tensor = ParseTensorFile({bad.data(), bad.size()}, "f", kFixed);
      EXPECT_TRUE(!tensor.ok() || tensor->bytes.size() == 24u) << at;
    }
  }
}

TEST(TensorFileTest, AFileThatCannotBeReadIsNamed) {
  for (const char* path : {"/nowhere/x.bin", "/"}) {
    const absl::Status status = ReadTensorFile(path, kFixed).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("cannot read ", path)));
  }
}

}  // namespace
}  // namespace torchd
