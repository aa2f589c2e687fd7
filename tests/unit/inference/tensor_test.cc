#include "server/inference/tensor.h"

#include <limits>

#include "gtest/gtest.h"

namespace torchd {
namespace {

TEST(TensorTest, EveryTypeHasItsNameAndSize) {
  struct Case {
    DataType type;
    std::string name;
    size_t size;
  };
  for (const Case& test :
       {Case{DataType::kUint8, "uint8", 1}, Case{DataType::kInt32, "int32", 4},
        Case{DataType::kInt64, "int64", 8}, Case{DataType::kFloat32, "float32", 4}}) {
    EXPECT_EQ(Name(test.type), test.name);
    EXPECT_EQ(SizeOf(test.type), test.size) << test.name;
    EXPECT_EQ(DataTypeByName(test.name), test.type) << test.name;
  }
}

TEST(TensorTest, UnknownNamesAreNoType) {
  for (const char* name : {"", "Float32", "float", "float64", "float32 "}) {
    EXPECT_EQ(DataTypeByName(name), std::nullopt) << name;
  }
}

TEST(TensorTest, ShapeText) {
  EXPECT_EQ(ShapeText({1, 3, -1}), "[1,3,-1]");
  EXPECT_EQ(ShapeText({7}), "[7]");
  EXPECT_EQ(ShapeText({}), "[]");
}

TEST(TensorTest, BytesOfMultipliesSizes) {
  EXPECT_EQ(BytesOf(DataType::kFloat32, {3, 224, 224}), 602'112u);
  EXPECT_EQ(BytesOf(DataType::kInt64, {}), 8u);  // A scalar.
  EXPECT_EQ(BytesOf(DataType::kUint8, {5, 0}), 0u);
}

TEST(TensorTest, BytesOfIsEmptyWhereThereIsNoAnswer) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(BytesOf(DataType::kUint8, {-1}), std::nullopt);
  EXPECT_EQ(BytesOf(DataType::kUint8, {0, -1}), std::nullopt);
  EXPECT_EQ(BytesOf(DataType::kFloat32, {kMost}), std::nullopt);
  EXPECT_EQ(BytesOf(DataType::kUint8, {kMost, 3}), std::nullopt);
  EXPECT_EQ(BytesOf(DataType::kInt32, {int64_t{1} << 31, int64_t{1} << 31}), std::nullopt);
  EXPECT_EQ(BytesOf(DataType::kUint8, {kMost}), static_cast<size_t>(kMost));
}

TEST(TensorTest, ViewBorrowsTheBytes) {
  const Tensor tensor{DataType::kInt32, {2}, std::vector<char>(8)};
  const TensorView view = tensor.View();
  EXPECT_EQ(view.data, tensor.bytes.data());
  EXPECT_EQ(view.bytes, 8u);
  EXPECT_EQ(view.type, DataType::kInt32);
  EXPECT_EQ(view.shape, Shape({2}));
}

}  // namespace
}  // namespace torchd
