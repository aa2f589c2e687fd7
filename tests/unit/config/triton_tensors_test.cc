// Inputs and outputs of config.pbtxt.
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/triton_config.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TritonConfig Good(const std::string& text) {
  const auto config = ParseTritonConfig(text);
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : TritonConfig();
}

std::string Error(const std::string& text) {
  return std::string(ParseTritonConfig(text).status().message());
}

// Protobuf's text takes the number of an enum's value as well.
TEST(TritonTensorsTest, DataTypesMayBeNumbers) {
  const TritonConfig config = Good(R"(max_batch_size: 1
    input { name: 'x' data_type: 11 dims: 4 format: 2 }
    output { name: 'y' data_type: 12 dims: 3 })");
  EXPECT_EQ(config.model.inputs[0].data_type, "float32");
  EXPECT_THAT(config.not_honoured,
              ElementsAre(StartsWith("input[0].format (line 2): FORMAT_NCHW is a hint"),
                          StartsWith("output[0].data_type (line 3): TYPE_FP64; ")));
  EXPECT_THAT(Error("input { name: 'x' data_type: 10 dims: 4 }"),
              HasSubstr("input[0].data_type is TYPE_FP16, expected one of"));
  EXPECT_THAT(Error("input { name: 'x' data_type: 15 dims: 4 }"),
              HasSubstr("input[0].data_type is 15, expected one of"));
}

// The model never saw the shape that it takes, and so did not load.
TEST(TritonTensorsTest, ReshapeSaysWhatTheModelTakes) {
  const TritonConfig config = Good(R"(max_batch_size: 1
    input { name: 'x' data_type: TYPE_FP32 dims: 784 reshape { shape: [ 1, 28, 28 ] } }
    output { name: 'y' data_type: TYPE_FP32 dims: [ 10 ] reshape { shape: [ 5, 2 ] } })");
  EXPECT_THAT(config.model.inputs[0].shape, ElementsAre(1, 28, 28));
  EXPECT_THAT(config.model.output_shapes.at("y"), ElementsAre(5, 2));
  EXPECT_THAT(
      config.not_honoured,
      ElementsAre("input[0].reshape (line 2): clients send the model's own shape, [1,28,28]",
                  "output[0].reshape (line 3): clients get the model's own shape, [5,2]"));
}

// Without batching it is the reshape that adds the batch dimension; clients see no difference.
TEST(TritonTensorsTest, ReshapeThatAddsTheBatchIsNoNews) {
  const TritonConfig config = Good(R"(
    input { name: 'x' data_type: TYPE_FP32 dims: [ 3, 8, 8 ] reshape { shape: [ 1, 3, 8, 8 ] } }
    output { name: 'y' data_type: TYPE_FP32 dims: 10 reshape { shape: [ 1, 10 ] } })");
  EXPECT_THAT(config.model.inputs[0].shape, ElementsAre(3, 8, 8));
  EXPECT_THAT(config.not_honoured, IsEmpty());
  EXPECT_THAT(Error("input { name: 'x' data_type: TYPE_FP32 dims: 1 reshape { shape: [ ] } }"),
              HasSubstr("input[0].reshape has no batch dimension"));
}

}  // namespace
}  // namespace torchd
