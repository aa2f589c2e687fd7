#include "client/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

namespace torchd {
namespace {

using std::chrono::microseconds;
using testing::ElementsAre;

TEST(ConvertTest, ItemsOfEachKindKeepTheirOrder) {
  const v1::ClassifyRequest request = ToWire(
      {Image{"jpeg"}, Text{"words"}, Tensors{FloatTensor({2}, {1.5F, -2}, "x")}, Tensors{}}, {});
  ASSERT_EQ(request.items_size(), 4);
  EXPECT_EQ(request.items(0).image(), "jpeg");
  EXPECT_EQ(request.items(1).text(), "words");
  const v1::Tensor& tensor = request.items(2).tensors().tensors(0);
  EXPECT_EQ(tensor.name(), "x");
  EXPECT_EQ(tensor.data_type(), v1::DATA_TYPE_FLOAT32);
  EXPECT_THAT(tensor.shape(), ElementsAre(2));
  float values[2];
  ASSERT_EQ(tensor.data().size(), sizeof values);
  std::memcpy(values, tensor.data().data(), sizeof values);
  EXPECT_THAT(values, ElementsAre(1.5F, -2));
  EXPECT_TRUE(request.items(3).has_tensors());
}

TEST(ConvertTest, WhatIsNotSaidIsNotSent) {
  const v1::ClassifyRequest request = ToWire({Text{"a"}}, {});
  EXPECT_FALSE(request.has_top_k());
  EXPECT_FALSE(request.has_softmax());
  EXPECT_EQ(request.activation(), v1::ACTIVATION_UNSPECIFIED);
  EXPECT_FALSE(request.has_threshold());
  EXPECT_EQ(request.version(), 0);
  EXPECT_EQ(request.priority(), v1::PRIORITY_NORMAL);
}

TEST(ConvertTest, EveryOptionIsSent) {
  ClassifyOptions options;
  options.model = "m";
  options.version = 3;
  options.version_label = "stable";
  options.top_k = 7;
  options.softmax = false;
  options.activation = Activation::kSigmoid;
  options.threshold = 0;
  options.priority = Priority::kLow;
  const v1::ClassifyRequest request = ToWire({}, options);
  EXPECT_EQ(request.model(), "m");
  EXPECT_EQ(request.version(), 3);
  EXPECT_EQ(request.version_label(), "stable");
  EXPECT_EQ(request.top_k(), 7);
  EXPECT_TRUE(request.has_softmax() && !request.softmax());
  EXPECT_EQ(request.activation(), v1::ACTIVATION_SIGMOID);
  EXPECT_TRUE(request.has_threshold() && request.threshold() == 0);
  EXPECT_EQ(request.priority(), v1::PRIORITY_LOW);
}

TEST(ConvertTest, TheNumbersOfTheEnumsAreTheWires) {
  EXPECT_EQ(static_cast<int>(DataType::kUint8), v1::DATA_TYPE_UINT8);
  EXPECT_EQ(static_cast<int>(DataType::kInt32), v1::DATA_TYPE_INT32);
  EXPECT_EQ(static_cast<int>(DataType::kInt64), v1::DATA_TYPE_INT64);
  EXPECT_EQ(static_cast<int>(DataType::kFloat32), v1::DATA_TYPE_FLOAT32);
  EXPECT_EQ(static_cast<int>(Priority::kHigh), v1::PRIORITY_HIGH);
  EXPECT_EQ(static_cast<int>(Priority::kNormal), v1::PRIORITY_NORMAL);
  EXPECT_EQ(static_cast<int>(Priority::kLow), v1::PRIORITY_LOW);
  EXPECT_EQ(static_cast<int>(Activation::kNone), v1::ACTIVATION_NONE);
  EXPECT_EQ(static_cast<int>(Activation::kSoftmax), v1::ACTIVATION_SOFTMAX);
  EXPECT_EQ(static_cast<int>(Activation::kSigmoid), v1::ACTIVATION_SIGMOID);
}

TEST(ConvertTest, TwoTextsAreOneItem) {
  const v1::ClassifyRequest request = ToWire({TextPair{"a", "b"}}, {});
  ASSERT_EQ(request.items_size(), 1);
  EXPECT_EQ(request.items(0).text_pair().first(), "a");
  EXPECT_EQ(request.items(0).text_pair().second(), "b");
}

TEST(ConvertTest, AnswersComeWithTimesOrTheirError) {
  v1::ClassifyResponse response;
  response.set_model("m");
  response.set_version(2);
  v1::ClassifyResult& good = *response.add_results();
  v1::Class& one = *good.add_classes();
  one.set_index(4);
  one.set_label("cat");
  one.set_probability(0.5F);
  good.mutable_times()->set_queue_us(7);
  good.set_non_finite(true);
  v1::ClassifyResult& bad = *response.add_results();
  bad.mutable_error()->set_code(3);
  bad.mutable_error()->set_message("no image");
  const Classification answer = FromWire(response);
  EXPECT_EQ(answer.model, "m");
  EXPECT_EQ(answer.version, 2);
  ASSERT_EQ(answer.items.size(), 2);
  EXPECT_TRUE(answer.items[0].status.ok());
  EXPECT_EQ(answer.items[0].classes[0].index, 4);
  EXPECT_EQ(answer.items[0].classes[0].label, "cat");
  EXPECT_EQ(answer.items[0].classes[0].probability, 0.5F);
  EXPECT_EQ(answer.items[0].times.queue, microseconds(7));
  EXPECT_TRUE(answer.items[0].non_finite);
  EXPECT_EQ(answer.items[1].status, absl::InvalidArgumentError("no image"));
}

TEST(ConvertTest, AnErrorIsNeverOk) {
  EXPECT_EQ(StatusOf(v1::ItemError()).code(), absl::StatusCode::kUnknown);
}

TEST(ConvertTest, AModelSaysWhatItTakes) {
  v1::ModelVersion version;
  version.set_name("m");
  version.set_version(3);
  version.set_state(v1::VERSION_STATE_READY);
  version.add_takes("image");
  v1::TensorDescription& input = *version.add_inputs();
  input.set_name("x");
  input.set_data_type("float32");
  input.add_shape(-1);
  version.set_activation("sigmoid");
  version.set_threshold(0.5F);
  version.mutable_image()->set_layout("hwc");
  version.mutable_image()->set_data_type("uint8");
  version.mutable_image()->set_crop(224);
  version.mutable_image()->add_formats("jpeg");
  const ModelInfo model = FromWire(version);
  EXPECT_EQ(model.state, "READY");
  EXPECT_THAT(model.takes, ElementsAre("image"));
  EXPECT_THAT(model.inputs[0].shape, ElementsAre(-1));
  ASSERT_TRUE(model.image.has_value());
  EXPECT_EQ(model.image->crop, 224);
  EXPECT_EQ(model.image->layout, "hwc");
  EXPECT_EQ(model.image->data_type, "uint8");
  EXPECT_FALSE(model.image->scale.has_value());
  EXPECT_EQ(model.activation, "sigmoid");
  EXPECT_EQ(model.threshold, 0.5F);
  EXPECT_THAT(model.image->formats, ElementsAre("jpeg"));
  EXPECT_FALSE(model.text.has_value());
}

TEST(StateNameTest, IsWithoutItsPrefix) {
  EXPECT_EQ(StateName(v1::VERSION_STATE_UNKNOWN), "UNKNOWN");
  EXPECT_EQ(StateName(v1::VERSION_STATE_UNLOADING), "UNLOADING");
}

TEST(StateNameTest, IsUnknownForAStateOfALaterServer) {
  EXPECT_EQ(StateName(static_cast<v1::VersionState>(99)), "UNKNOWN");
}

TEST(ReadImageTest, NamesTheFileThatCannotBeRead) {
  const absl::Status missing = ReadImage("/nowhere/cat.jpg").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), testing::HasSubstr("/nowhere/cat.jpg"));
  EXPECT_FALSE(ReadImage("/").ok());
  EXPECT_GT(ReadImage(TORCHD_SOURCE_DIR "/tests/data/cat.jpg")->bytes.size(), 1000U);
}

}  // namespace
}  // namespace torchd
