#include "client/convert.h"

#include <type_traits>

#include "absl/strings/strip.h"

namespace torchd {
namespace {

void AddTensor(const Tensor& tensor, v1::TensorInput& input) {
  v1::Tensor& added = *input.add_tensors();
  added.set_name(tensor.name);
  added.set_data_type(static_cast<v1::DataType>(tensor.type));
  added.mutable_shape()->Add(tensor.shape.begin(), tensor.shape.end());
  added.set_data(tensor.data);
}

void AddItem(const Item& item, v1::ClassifyRequest& request) {
  v1::ClassifyItem& added = *request.add_items();
  std::visit(
      [&added](const auto& input) {
        using Input = std::decay_t<decltype(input)>;
        if constexpr (std::is_same_v<Input, Image>) {
          added.set_image(input.bytes);
        } else if constexpr (std::is_same_v<Input, Text>) {
          added.set_text(input.utf8);
        } else if constexpr (std::is_same_v<Input, TextPair>) {
          added.mutable_text_pair()->set_first(input.first);
          added.mutable_text_pair()->set_second(input.second);
        } else {
          // Also where there are none: the server says what it misses.
          v1::TensorInput& tensors = *added.mutable_tensors();
          for (const Tensor& tensor : input) AddTensor(tensor, tensors);
        }
      },
      item);
}

StageTimes FromWire(const v1::StageTimes& times) {
  return {std::chrono::microseconds(times.preprocess_us()),
          std::chrono::microseconds(times.queue_us()),
          std::chrono::microseconds(times.execute_us()),
          std::chrono::microseconds(times.postprocess_us()),
          std::chrono::microseconds(times.total_us())};
}

ItemAnswer FromWire(const v1::ClassifyResult& result) {
  ItemAnswer answer;
  if (result.has_error()) answer.status = StatusOf(result.error());
  for (const v1::Class& one : result.classes()) {
    answer.classes.push_back({one.index(), one.label(), one.probability()});
  }
  answer.times = FromWire(result.times());
  answer.non_finite = result.non_finite();
  return answer;
}

template <typename Tensors>
std::vector<TensorInfo> Infos(const Tensors& tensors) {
  std::vector<TensorInfo> infos;
  for (const v1::TensorDescription& one : tensors) {
    infos.push_back({one.name(), one.data_type(), {one.shape().begin(), one.shape().end()}});
  }
  return infos;
}

ImageInput FromWire(const v1::ImageInput& image) {
  return {{image.formats().begin(), image.formats().end()},
          image.preset(),
          image.resize(),
          image.crop(),
          image.filter(),
          image.antialias(),
          {image.mean().begin(), image.mean().end()},
          {image.std().begin(), image.std().end()},
          image.layout(),
          image.data_type(),
          image.has_scale() ? std::optional<float>(image.scale()) : std::nullopt};
}

TextInput FromWire(const v1::TextInput& text) {
  return {text.tokens_max(),
          {text.lengths().begin(), text.lengths().end()},
          text.lowercase(),
          text.bytes_max()};
}

}  // namespace

absl::Status StatusOf(const v1::ItemError& error) {
  const auto code = static_cast<absl::StatusCode>(error.code());
  return {code == absl::StatusCode::kOk ? absl::StatusCode::kUnknown : code, error.message()};
}

std::string StateName(v1::VersionState state) {
  const std::string name = v1::VersionState_Name(state);
  return name.empty() ? "UNKNOWN" : std::string(absl::StripPrefix(name, "VERSION_STATE_"));
}

v1::ClassifyRequest ToWire(const std::vector<Item>& items, const ClassifyOptions& options) {
  v1::ClassifyRequest request;
  request.set_model(options.model);
  request.set_version(options.version);
  request.set_version_label(options.version_label);
  if (options.top_k) request.set_top_k(*options.top_k);
  if (options.softmax) request.set_softmax(*options.softmax);
  if (options.activation) {
    request.set_activation(static_cast<v1::Activation>(*options.activation));
  }
  if (options.threshold) request.set_threshold(*options.threshold);
  request.set_priority(static_cast<v1::Priority>(options.priority));
  for (const Item& item : items) AddItem(item, request);
  return request;
}

Classification FromWire(const v1::ClassifyResponse& response) {
  Classification classification{response.model(), response.version(), {}};
  for (const v1::ClassifyResult& result : response.results()) {
    classification.items.push_back(FromWire(result));
  }
  return classification;
}

ModelInfo FromWire(const v1::ModelVersion& version) {
  ModelInfo info;
  info.name = version.name();
  info.version = version.version();
  info.state = StateName(version.state());
  info.reason = version.reason();
  info.takes = {version.takes().begin(), version.takes().end()};
  info.inputs = Infos(version.inputs());
  info.outputs = Infos(version.outputs());
  info.labels = version.labels();
  if (version.has_image()) info.image = FromWire(version.image());
  if (version.has_text()) info.text = FromWire(version.text());
  info.activation = version.activation();
  if (version.has_threshold()) info.threshold = version.threshold();
  return info;
}

}  // namespace torchd
