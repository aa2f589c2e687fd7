#include "server/http/answer_json.h"

#include <string>

#include "nlohmann/json.hpp"
#include "server/classify/input_facts.h"

namespace torchd {
namespace {

// Numbers as float, which are written with as many digits as a float has.
using Json = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, int64_t,
                                  uint64_t, float>;

Json ToJson(const StageDurations& times) {
  return {{"preprocess", Microseconds(times.preprocess)},
          {"queue", Microseconds(times.queue)},
          {"execute", Microseconds(times.execute)},
          {"postprocess", Microseconds(times.postprocess)},
          {"total", Microseconds(times.total)}};
}

Json ToJson(const ItemAnswer& item) {
  Json result;
  if (!item.status.ok()) {
    result["error"] = {{"code", absl::StatusCodeToString(item.status.code())},
                       {"message", std::string(item.status.message())}};
  }
  Json& classes = result["classes"] = Json::array();
  for (const ClassAnswer& answered : item.classes) {
    classes.push_back({{"index", answered.index},
                       {"label", std::string(answered.label)},
                       {"probability", answered.probability}});
  }
  result["non_finite"] = item.non_finite;
  result["times_us"] = ToJson(item.times);
  return result;
}

Json ToJson(const std::vector<TensorSpec>& specs) {
  Json tensors = Json::array();
  for (const TensorSpec& spec : specs) {
    tensors.push_back(
        {{"name", spec.name}, {"data_type", Name(spec.type)}, {"shape", Json(spec.shape)}});
  }
  return tensors;
}

Json ToJson(const ImageFacts& image) {
  Json json = {
      {"formats", image.formats}, {"preset", image.preset},       {"resize", image.resize},
      {"crop", image.crop},       {"filter", image.filter},       {"antialias", image.antialias},
      {"layout", image.layout},   {"data_type", image.data_type}, {"scale", nullptr},
      {"mean", Json(image.mean)}, {"std", Json(image.std)}};
  if (image.scale) json["scale"] = *image.scale;
  return json;
}

Json ToJson(const TextFacts& text) {
  return {{"tokens_max", text.tokens_max},
          {"lengths", Json(text.lengths)},
          {"lowercase", text.lowercase},
          {"bytes_max", text.bytes_max}};
}

Json ToJson(const VersionStatus& status) {
  Json version = {{"version", status.version},
                  {"state", Name(status.state)},
                  {"reason", status.reason},
                  {"version_labels", status.labels}};
  if (status.servable == nullptr) return version;
  const Servable& servable = *status.servable;
  version["takes"] = Takes(servable);
  version["inputs"] = ToJson(servable.model->signature().inputs);
  version["outputs"] = ToJson(servable.model->signature().outputs);
  version["labels"] = servable.labels.size();
  const ModelConfig& config = servable.config;
  version["activation"] = Name(config.activation);
  version["threshold"] = config.threshold ? Json(*config.threshold) : Json(nullptr);
  version["image"] = config.image ? ToJson(FactsOf(*config.image)) : Json(nullptr);
  const Preprocessor& preprocessor = servable.preprocessor;
  version["text"] = preprocessor.takes_text() ? ToJson(TextFactsOf(preprocessor)) : Json(nullptr);
  return version;
}

Json ModelJson(absl::Span<const VersionStatus> statuses) {
  Json model = {{"name", statuses.front().name}, {"versions", Json::array()}};
  for (const VersionStatus& status : statuses) model["versions"].push_back(ToJson(status));
  return model;
}

HttpReply ReplyWith(const Json& json) {
  // A label or an exception's text need not be UTF-8; strict dump() would throw.
  constexpr auto kReplace = Json::error_handler_t::replace;
  return {200, "application/json", json.dump(-1, ' ', false, kReplace) + "\n"};
}

}  // namespace

HttpReply AnswerReply(const ClassifyAnswer& answer) {
  Json json = {{"model", answer.servable->name},
               {"version", answer.servable->version},
               {"results", Json::array()}};
  for (const ItemAnswer& item : answer.items) json["results"].push_back(ToJson(item));
  return ReplyWith(json);
}

HttpReply ModelsReply(absl::Span<const VersionStatus> statuses) {
  Json json = {{"models", Json::array()}};
  while (!statuses.empty()) {
    size_t count = 1;
    while (count < statuses.size() && statuses[count].name == statuses[0].name) ++count;
    json["models"].push_back(ModelJson(statuses.first(count)));
    statuses.remove_prefix(count);
  }
  return ReplyWith(json);
}

HttpReply ModelReply(absl::Span<const VersionStatus> statuses) {
  return ReplyWith(ModelJson(statuses));
}

HttpReply VersionReply(const VersionStatus& status) { return ReplyWith(ToJson(status)); }

}  // namespace torchd
