#include "server/inference/trial_row.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;

TEST(TrialRowTest, HoldsOnesAndStandsForAnySize) {
  const std::vector<Tensor> row = TrialRow({{"picture", DataType::kFloat32, {3, -1, -1}},
                                            {"numbers", DataType::kFloat32, {2}},
                                            {"ids", DataType::kInt64, {-1}},
                                            {"mask", DataType::kUint8, {2, -1}}});
  ASSERT_EQ(row.size(), 4u);
  EXPECT_THAT(row[0].shape, ElementsAre(3, 224, 224));  // Deep networks refuse small pictures.
  EXPECT_THAT(row[1].shape, ElementsAre(2));
  EXPECT_THAT(row[2].shape, ElementsAre(16));
  EXPECT_THAT(row[3].shape, ElementsAre(2, 16));
  const auto* numbers = reinterpret_cast<const float*>(row[1].bytes.data());
  EXPECT_EQ(numbers[0], 1);
  EXPECT_EQ(numbers[1], 1);
  const auto* ids = reinterpret_cast<const int64_t*>(row[2].bytes.data());
  for (int i = 0; i < 16; ++i) EXPECT_EQ(ids[i], 1);
  EXPECT_EQ(row[3].bytes, std::vector<char>(32, 1));
}

}  // namespace
}  // namespace torchd
