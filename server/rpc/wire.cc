#include "server/rpc/wire.h"

#include <google/protobuf/message.h>
#include <google/protobuf/unknown_field_set.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

constexpr size_t kMessageBytesMax = 1024;

absl::string_view View(const std::string& text) { return {text.data(), text.size()}; }

std::optional<DataType> FromWire(v1::DataType type) {
  switch (type) {
    case v1::DATA_TYPE_UINT8:
      return DataType::kUint8;
    case v1::DATA_TYPE_INT32:
      return DataType::kInt32;
    case v1::DATA_TYPE_INT64:
      return DataType::kInt64;
    case v1::DATA_TYPE_FLOAT32:
      return DataType::kFloat32;
    default:
      return std::nullopt;
  }
}

// A newer client may ask for what this server does not know, and must not be answered as if it had
// not.
absl::Status CheckKnown(const google::protobuf::Message& message) {
  const auto& unknown = message.GetReflection()->GetUnknownFields(message);
  if (unknown.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(message.GetDescriptor()->name(), " has a field of number ",
                   unknown.field(0).number(), ", which this server does not know"));
}

ClassifyItem FromWire(const v1::TensorInput& input) {
  TensorItem item;
  TORCHD_RETURN_IF_ERROR(CheckKnown(input));
  if (input.tensors_size() > kItemsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("got ", input.tensors_size(), " tensors in an item, at most ", kItemsMax));
  }
  for (const v1::Tensor& tensor : input.tensors()) {
    TORCHD_RETURN_IF_ERROR(CheckKnown(tensor));
    const auto type = FromWire(tensor.data_type());
    if (!type) {
      return absl::InvalidArgumentError(
          absl::StrCat("data_type: got ", static_cast<int>(tensor.data_type()),
                       ", expected one of UINT8, INT32, INT64, FLOAT32"));
    }
    if (tensor.shape_size() > static_cast<int>(kDimensionsMax) + 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape: got ", tensor.shape_size(), " sizes, at most ", kDimensionsMax));
    }
    item.push_back({View(tensor.name()),
                    {*type,
                     {tensor.shape().begin(), tensor.shape().end()},
                     tensor.data().data(),
                     tensor.data().size()}});
  }
  return item;
}

ClassifyItem FromWire(const v1::TextPair& pair) {
  TORCHD_RETURN_IF_ERROR(CheckKnown(pair));
  const size_t bytes = pair.first().size() + pair.second().size();
  if (bytes > static_cast<size_t>(kTextBytesMax)) {
    return absl::InvalidArgumentError(
        absl::StrCat("text_pair: got ", bytes, " bytes, at most ", kTextBytesMax));
  }
  return TextItem{View(pair.first()), View(pair.second())};
}

ClassifyItem FromWire(const v1::ClassifyItem& item) {
  TORCHD_RETURN_IF_ERROR(CheckKnown(item));
  switch (item.input_case()) {
    case v1::ClassifyItem::kTensors:
      return FromWire(item.tensors());
    case v1::ClassifyItem::kImage:
      return ImageItem{View(item.image())};
    case v1::ClassifyItem::kText:
      if (item.text().size() > static_cast<size_t>(kTextBytesMax)) {
        return absl::InvalidArgumentError(
            absl::StrCat("text: got ", item.text().size(), " bytes, at most ", kTextBytesMax));
      }
      return TextItem{View(item.text()), std::nullopt};
    case v1::ClassifyItem::kTextPair:
      return FromWire(item.text_pair());
    case v1::ClassifyItem::INPUT_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "an item has no input; expected one of tensors, image, text or text_pair");
}

void ToWire(const StageDurations& times, v1::StageTimes& wire) {
  wire.set_preprocess_us(Microseconds(times.preprocess));
  wire.set_queue_us(Microseconds(times.queue));
  wire.set_execute_us(Microseconds(times.execute));
  wire.set_postprocess_us(Microseconds(times.postprocess));
  wire.set_total_us(Microseconds(times.total));
}

Priority FromWire(v1::Priority priority) {
  switch (priority) {
    case v1::PRIORITY_HIGH:
      return Priority::kHigh;
    case v1::PRIORITY_LOW:
      return Priority::kLow;
    default:
      return Priority::kNormal;
  }
}

std::optional<Activation> FromWire(v1::Activation activation) {
  switch (activation) {
    case v1::ACTIVATION_NONE:
      return Activation::kNone;
    case v1::ACTIVATION_SOFTMAX:
      return Activation::kSoftmax;
    case v1::ACTIVATION_SIGMOID:
      return Activation::kSigmoid;
    default:
      return std::nullopt;
  }
}

absl::Status CheckOptions(const v1::ClassifyRequest& request) {
  if (!v1::Priority_IsValid(request.priority())) {
    return absl::InvalidArgumentError(absl::StrCat("priority: got ",
                                                   static_cast<int>(request.priority()),
                                                   ", expected one of HIGH, NORMAL, LOW"));
  }
  if (!v1::Activation_IsValid(request.activation())) {
    return absl::InvalidArgumentError(absl::StrCat("activation: got ",
                                                   static_cast<int>(request.activation()),
                                                   ", expected one of NONE, SOFTMAX, SIGMOID"));
  }
  return CheckKnown(request);
}

}  // namespace

ClassifyCall FromWire(const v1::ClassifyRequest& request) {
  const absl::Status can = CheckOptions(request);
  ClassifyCall call;
  call.model = View(request.model());
  call.version = request.version();
  call.version_label = request.version_label();
  call.items.reserve(static_cast<size_t>(request.items_size()));
  for (const v1::ClassifyItem& item : request.items()) call.items.push_back(FromWire(item));
  if (request.has_top_k()) call.top_k = request.top_k();
  if (request.has_softmax()) call.softmax = request.softmax();
  if (request.has_threshold()) call.threshold = request.threshold();
  call.activation = FromWire(request.activation());
  if (!can.ok()) {
    for (ClassifyItem& item : call.items) item = can;
  }
  call.priority = FromWire(request.priority());
  call.bytes = static_cast<int64_t>(request.ByteSizeLong());
  return call;
}

void ToWire(const ClassifyAnswer& answer, v1::ClassifyResponse& response) {
  response.set_model(answer.servable->name);
  response.set_version(answer.servable->version);
  for (const ItemAnswer& item : answer.items) {
    v1::ClassifyResult& result = *response.add_results();
    for (const ClassAnswer& answered : item.classes) {
      v1::Class& wire = *result.add_classes();
      wire.set_index(answered.index);
      wire.set_label(answered.label.data(), answered.label.size());
      wire.set_probability(answered.probability);
    }
    ToWire(item.times, *result.mutable_times());
    result.set_non_finite(item.non_finite);
    if (!item.status.ok()) {
      result.mutable_error()->set_code(static_cast<int>(item.status.code()));
      result.mutable_error()->set_message(std::string(item.status.message()));
    }
  }
}

grpc::Status ToWire(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(status.message().substr(0, kMessageBytesMax))};
}

}  // namespace torchd
