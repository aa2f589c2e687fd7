#include "server/execution/tensor_model.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/execution/catch_torch.h"
#include "server/execution/torch_runtime.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Ordered(const std::vector<std::string>& forward,
                                 const std::vector<std::string>& declared) {
  std::vector<TensorSpec> specs;
  for (const std::string& name : declared) specs.push_back({name, DataType::kInt64, {-1}});
  std::vector<std::string> names;
  for (const TensorSpec& spec : InOrderOf(forward, specs)) names.push_back(spec.name);
  return names;
}

// Triton's configurations list inputs in any order; swapped ids and masks would still run.
TEST(InOrderOfTest, NamesOfForwardDecide) {
  EXPECT_THAT(Ordered({"ids", "mask"}, {"mask", "ids"}), ElementsAre("ids", "mask"));
  EXPECT_THAT(Ordered({"ids", "mask", "types"}, {"types", "ids"}), ElementsAre("ids", "types"));
}

TEST(InOrderOfTest, OtherNamesStayAsDeclared) {
  EXPECT_THAT(Ordered({"x", "y"}, {"INPUT__1", "INPUT__0"}), ElementsAre("INPUT__1", "INPUT__0"));
  EXPECT_THAT(Ordered({"ids", "mask"}, {"mask", "tokens"}), ElementsAre("mask", "tokens"));
}

// The last test: what it does cannot be undone.
TEST(ZPoisonTest, FailedDeviceIsRemembered) {
  EXPECT_FALSE(DevicePoisoned());
  const auto failed = CatchTorch("running", []() -> int {
    throw c10::AcceleratorError({"f", "file", 1}, 700, "an illegal memory access");
  });
  EXPECT_EQ(failed.status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(DevicePoisoned());
}

}  // namespace
}  // namespace torchd
