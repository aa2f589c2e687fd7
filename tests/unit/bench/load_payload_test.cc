#include "bench/load_payload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "absl/status/status.h"

namespace torchd::bench {
namespace {

using testing::Each;
using testing::ElementsAre;

v1::ModelVersion& AddVersion(v1::ListModelsResponse& listing, int64_t number,
                             v1::VersionState state = v1::VERSION_STATE_READY) {
  v1::ModelVersion& version = *listing.add_models();
  version.set_version(number);
  version.set_state(state);
  return version;
}

void AddInput(v1::ModelVersion& version, const std::string& name, const std::string& type,
              const std::vector<int64_t>& shape) {
  v1::TensorDescription& input = *version.add_inputs();
  input.set_name(name);
  input.set_data_type(type);
  input.mutable_shape()->Add(shape.begin(), shape.end());
}

template <typename Element>
std::vector<Element> Elements(const v1::Tensor& tensor) {
  std::vector<Element> elements(tensor.data().size() / sizeof(Element));
  std::memcpy(elements.data(), tensor.data().data(), tensor.data().size());
  return elements;
}

TEST(LoadPayloadTest, FillsTheInputsOfTheHighestReadyVersion) {
  v1::ListModelsResponse listing;
  AddInput(AddVersion(listing, 1), "old", "uint8", {1});
  v1::ModelVersion& version = AddVersion(listing, 2);
  AddInput(version, "ids", "int64", {-1});
  AddInput(version, "x", "float32", {2, 1});
  AddVersion(listing, 3, v1::VERSION_STATE_LOADING);
  const auto request = RequestFor("m", listing, {false, 1, 3});
  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->model(), "m");
  ASSERT_EQ(request->items_size(), 1);
  const auto& tensors = request->items(0).tensors();
  ASSERT_EQ(tensors.tensors_size(), 2);
  EXPECT_EQ(tensors.tensors(0).name(), "ids");
  EXPECT_EQ(tensors.tensors(0).data_type(), v1::DATA_TYPE_INT64);
  EXPECT_THAT(tensors.tensors(0).shape(), ElementsAre(3));
  EXPECT_THAT(Elements<int64_t>(tensors.tensors(0)), ElementsAre(1, 1, 1));
  EXPECT_THAT(Elements<float>(tensors.tensors(1)), ElementsAre(1, 1));
}

TEST(LoadPayloadTest, RandomElementsAreInRangeAndRepeatable) {
  v1::ListModelsResponse listing;
  v1::ModelVersion& version = AddVersion(listing, 1);
  AddInput(version, "bytes", "uint8", {500});
  AddInput(version, "x", "float32", {500});
  const auto request = RequestFor("m", listing, {true, 5});
  ASSERT_TRUE(request.ok());
  const auto& tensors = request->items(0).tensors();
  const auto bytes = Elements<uint8_t>(tensors.tensors(0));
  EXPECT_THAT(bytes, Each(testing::Lt(100)));
  EXPECT_GT(std::count_if(bytes.begin(), bytes.end(), [](int byte) { return byte > 50; }), 100);
  EXPECT_THAT(Elements<float>(tensors.tensors(1)),
              Each(testing::AllOf(testing::Ge(-1), testing::Le(1))));
  EXPECT_EQ(request->SerializeAsString(), RequestFor("m", listing, {true, 5})->SerializeAsString());
  EXPECT_NE(request->SerializeAsString(), RequestFor("m", listing, {true, 6})->SerializeAsString());
}

TEST(LoadPayloadTest, WithoutAReadyVersionThereIsNothingToSend) {
  v1::ListModelsResponse listing;
  AddVersion(listing, 1, v1::VERSION_STATE_UNAVAILABLE);
  EXPECT_EQ(RequestFor("m", listing, {}).status().code(), absl::StatusCode::kFailedPrecondition);
  AddVersion(listing, 2);
  EXPECT_EQ(RequestFor("m", listing, {}).status().code(), absl::StatusCode::kFailedPrecondition);
  AddInput(AddVersion(listing, 3), "x", "complex", {1});
  EXPECT_EQ(RequestFor("m", listing, {}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(LoadPayloadTest, TensorsHaveALimit) {
  v1::ListModelsResponse listing;
  AddInput(AddVersion(listing, 1), "x", "float32", {-1, -1, -1, -1});
  EXPECT_EQ(RequestFor("m", listing, {false, 1, 65'536}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(LoadPayloadTest, AnEchoIsSentSoManyBytes) {
  const v1::ClassifyRequest request = EchoRequest(602'112);
  EXPECT_EQ(request.items(0).tensors().tensors(0).data().size(), 602'112);
  EXPECT_LT(request.ByteSizeLong(), 602'112 + 64);
}

}  // namespace
}  // namespace torchd::bench
