#include "server/rpc/wire.h"

#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"

namespace torchd {
namespace {

using std::chrono::microseconds;
using ::testing::HasSubstr;

std::string ItemError(const v1::ClassifyRequest& request) {
  const ClassifyCall call = FromWire(request);
  const auto* status = std::get_if<absl::Status>(&call.items.at(0));
  if (status == nullptr) return "no error";
  EXPECT_EQ(status->code(), absl::StatusCode::kInvalidArgument);
  return std::string(status->message());
}

TEST(FromWireTest, WhatIsAbsentStaysAbsent) {
  const ClassifyCall call = FromWire(v1::ClassifyRequest());
  EXPECT_TRUE(call.model.empty());
  EXPECT_EQ(call.version, 0);
  EXPECT_TRUE(call.items.empty());
  EXPECT_FALSE(call.top_k.has_value());
  EXPECT_FALSE(call.softmax.has_value());
}

TEST(FromWireTest, EveryFieldArrives) {
  v1::ClassifyRequest request;
  request.set_model("cat");
  request.set_version(3);
  request.set_version_label("stable");
  request.set_top_k(0);  // Present, so it is checked later rather than taken for absent.
  request.set_softmax(false);
  request.add_items()->set_image("bytes");
  request.add_items()->set_text("words");
  const ClassifyCall call = FromWire(request);
  EXPECT_EQ(std::string(call.model), "cat");
  EXPECT_EQ(call.version, 3);
  EXPECT_EQ(std::string(call.version_label), "stable");
  EXPECT_EQ(call.top_k, 0);
  EXPECT_EQ(call.softmax, false);
  ASSERT_EQ(call.items.size(), 2u);
  EXPECT_EQ(std::string(std::get<ImageItem>(call.items[0]).bytes), "bytes");
  EXPECT_EQ(std::string(std::get<TextItem>(call.items[1]).text), "words");
}

TEST(FromWireTest, PairsAndWhatBecomesOfScoresArrive) {
  v1::ClassifyRequest request;
  request.set_activation(v1::ACTIVATION_SIGMOID);
  request.set_threshold(0.25F);
  v1::TextPair& pair = *request.add_items()->mutable_text_pair();
  pair.set_first("question");
  pair.set_second("");
  const ClassifyCall call = FromWire(request);
  EXPECT_EQ(call.activation, Activation::kSigmoid);
  EXPECT_EQ(call.threshold, 0.25F);
  const auto& text = std::get<TextItem>(call.items[0]);
  EXPECT_EQ(std::string(text.text), "question");
  EXPECT_EQ(text.pair, absl::string_view(""));
}

TEST(FromWireTest, WhatContradictsItselfIsRefused) {
  v1::ClassifyRequest request;
  request.add_items()->set_text("a");
  request.set_activation(static_cast<v1::Activation>(9));
  EXPECT_EQ(
      std::get<absl::Status>(FromWire(request).items[0]),
      absl::InvalidArgumentError("activation: got 9, expected one of NONE, SOFTMAX, SIGMOID"));
  request.clear_activation();
  request.mutable_items(0)->mutable_text_pair()->set_second(std::string(kTextBytesMax + 1, 'a'));
  EXPECT_EQ(std::get<absl::Status>(FromWire(request).items[0]),
            absl::InvalidArgumentError("text_pair: got 1048577 bytes, at most 1048576"));
}

void AddUnknownField(google::protobuf::Message& message, int number) {
  message.GetReflection()->MutableUnknownFields(&message)->AddVarint(number, 1);
}

TEST(FromWireTest, WhatANewerClientAsksForIsRefused) {
  v1::ClassifyRequest request;
  request.add_items()->set_text("a");
  EXPECT_EQ(ItemError(request), "no error");
  AddUnknownField(request, 31);
  EXPECT_EQ(ItemError(request),
            "ClassifyRequest has a field of number 31, which this server does not know");
  request.Clear();
  v1::ClassifyItem& item = *request.add_items();
  AddUnknownField(*item.mutable_text_pair(), 3);
  EXPECT_THAT(ItemError(request), HasSubstr("TextPair has a field of number 3"));
  AddUnknownField(*item.mutable_tensors()->add_tensors(), 5);
  EXPECT_THAT(ItemError(request), HasSubstr("Tensor has a field of number 5"));
  AddUnknownField(*item.mutable_tensors(), 2);
  EXPECT_THAT(ItemError(request), HasSubstr("TensorInput has a field of number 2"));
  AddUnknownField(item, 17);
  EXPECT_THAT(ItemError(request), HasSubstr("ClassifyItem has a field of number 17"));
}

TEST(FromWireTest, TensorsBorrowTheirBytes) {
  v1::ClassifyRequest request;
  const std::pair<v1::DataType, DataType> types[] = {
      {v1::DATA_TYPE_UINT8, DataType::kUint8},
      {v1::DATA_TYPE_INT32, DataType::kInt32},
      {v1::DATA_TYPE_INT64, DataType::kInt64},
      {v1::DATA_TYPE_FLOAT32, DataType::kFloat32},
  };
  auto& tensors = *request.add_items()->mutable_tensors();
  for (const auto& type : types) {
    v1::Tensor& tensor = *tensors.add_tensors();
    tensor.set_name("x");
    tensor.set_data_type(type.first);
    tensor.add_shape(1);
    tensor.add_shape(2);
    tensor.set_data("12345678");
  }
  const ClassifyCall call = FromWire(request);
  const auto& item = std::get<TensorItem>(call.items.at(0));
  ASSERT_EQ(item.size(), 4u);
  for (size_t i = 0; i < item.size(); ++i) {
    EXPECT_EQ(std::string(item[i].name), "x");
    EXPECT_EQ(item[i].view.type, types[i].second);
    EXPECT_EQ(item[i].view.shape, Shape({1, 2}));
    EXPECT_EQ(item[i].view.bytes, 8u);
    EXPECT_EQ(item[i].view.data, tensors.tensors(static_cast<int>(i)).data().data());
  }
}

TEST(FromWireTest, WhatAnItemLacksBecomesItsStatus) {
  v1::ClassifyRequest request;
  v1::ClassifyItem& item = *request.add_items();
  EXPECT_THAT(ItemError(request), HasSubstr("an item has no input"));
  v1::Tensor& tensor = *item.mutable_tensors()->add_tensors();
  EXPECT_THAT(ItemError(request), HasSubstr("data_type: got 0"));
  tensor.set_data_type(static_cast<v1::DataType>(77));
  EXPECT_THAT(ItemError(request), HasSubstr("data_type: got 77"));
  tensor.set_data_type(v1::DATA_TYPE_UINT8);
  for (int i = 0; i < 10; ++i) tensor.add_shape(1);
  EXPECT_THAT(ItemError(request), HasSubstr("shape: got 10 sizes, at most 8"));
  for (int i = 0; i < 64; ++i) item.mutable_tensors()->add_tensors();
  EXPECT_THAT(ItemError(request), HasSubstr("got 65 tensors in an item, at most 64"));
}

TEST(FromWireTest, TextHasALimit) {
  v1::ClassifyRequest request;
  request.add_items()->set_text(std::string(1024 * 1024, 'x'));
  EXPECT_EQ(ItemError(request), "no error");
  request.mutable_items(0)->mutable_text()->push_back('x');
  EXPECT_EQ(ItemError(request), "text: got 1048577 bytes, at most 1048576");
}

TEST(FromWireTest, BadItemLeavesTheOthersAlone) {
  v1::ClassifyRequest request;
  request.add_items();
  request.add_items()->set_text("words");
  const ClassifyCall call = FromWire(request);
  EXPECT_TRUE(std::holds_alternative<absl::Status>(call.items.at(0)));
  EXPECT_TRUE(std::holds_alternative<TextItem>(call.items.at(1)));
}

TEST(FromWireTest, UnknownPriorityIsRefused) {
  v1::ClassifyRequest request;
  request.add_items()->set_text("hello");
  EXPECT_EQ(FromWire(request).priority, Priority::kNormal);
  request.set_priority(v1::PRIORITY_LOW);
  EXPECT_EQ(FromWire(request).priority, Priority::kLow);
  EXPECT_TRUE(std::holds_alternative<TextItem>(FromWire(request).items.at(0)));
  request.set_priority(static_cast<v1::Priority>(9));
  const ClassifyCall call = FromWire(request);
  EXPECT_EQ(std::get<absl::Status>(call.items.at(0)).code(), absl::StatusCode::kInvalidArgument);
}

TEST(ToWireTest, AnswerCarriesEveryField) {
  ModelMetrics metrics;
  auto preprocessor = Preprocessor::Create({}, EchoSignature(3).inputs, "", {});
  ASSERT_TRUE(preprocessor.ok());
  ClassifyAnswer answer;
  answer.servable = std::make_shared<const Servable>(Servable{
      "cat", 7, {}, {}, std::make_unique<FakeModel>(), nullptr, *std::move(preprocessor), metrics});
  ItemAnswer good;
  good.classes = {{2, "tabby", 0.75F}, {0, "", 0.25F}};
  good.times = {microseconds(1), microseconds(2), microseconds(3), microseconds(4),
                microseconds(10)};
  ItemAnswer bad;
  bad.status = absl::InvalidArgumentError("no picture");
  answer.items = {good, bad};
  v1::ClassifyResponse wire;
  ToWire(answer, wire);
  EXPECT_EQ(wire.model(), "cat");
  EXPECT_EQ(wire.version(), 7);
  ASSERT_EQ(wire.results_size(), 2);
  ASSERT_EQ(wire.results(0).classes_size(), 2);
  EXPECT_EQ(wire.results(0).classes(0).index(), 2);
  EXPECT_EQ(wire.results(0).classes(0).label(), "tabby");
  EXPECT_EQ(wire.results(0).classes(0).probability(), 0.75F);
  EXPECT_EQ(wire.results(0).classes(1).label(), "");
  EXPECT_FALSE(wire.results(0).has_error());
  EXPECT_EQ(wire.results(0).times().preprocess_us(), 1);
  EXPECT_EQ(wire.results(0).times().queue_us(), 2);
  EXPECT_EQ(wire.results(0).times().execute_us(), 3);
  EXPECT_EQ(wire.results(0).times().postprocess_us(), 4);
  EXPECT_EQ(wire.results(0).times().total_us(), 10);
  EXPECT_EQ(wire.results(1).classes_size(), 0);
  EXPECT_EQ(wire.results(1).error().code(), 3);  // google.rpc.Code INVALID_ARGUMENT
  EXPECT_EQ(wire.results(1).error().message(), "no picture");
}

TEST(ToWireTest, StatusKeepsCodeAndText) {
  EXPECT_TRUE(ToWire(absl::OkStatus()).ok());
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status wire = ToWire(absl::Status(static_cast<absl::StatusCode>(code), "why"));
    EXPECT_EQ(static_cast<int>(wire.error_code()), code);
    EXPECT_EQ(wire.error_message(), "why");
  }
}

// Longer ones would not fit into HTTP/2 headers, and the client would see a broken stream.
TEST(ToWireTest, LongMessageIsCut) {
  const grpc::Status wire = ToWire(absl::InternalError(std::string(100'000, 'x')));
  EXPECT_EQ(wire.error_message().size(), 1024u);
}

}  // namespace
}  // namespace torchd
