#include "client/json.h"

#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "client/convert.h"
#include "client/render.h"

namespace torchd {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

// The shortest decimal that is this float: 0.3 rather than 0.30000001192092896.
Json Shortest(float value) {
  if (!std::isfinite(value)) return nullptr;
  std::array<char, 32> digits;  // A float needs 15 at most.
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  double shortest = value;
  // Digits of a finite float always parse.
  (void)absl::SimpleAtod(absl::string_view(digits.data(), end - digits.data()), &shortest);
  return shortest;
}

Json ErrorJson(const absl::Status& status) {
  return {{"code", absl::StatusCodeToString(status.code())},
          {"message", std::string(status.message())}};
}

Json TimesJson(const v1::StageTimes& times) {
  return {{"preprocess", times.preprocess_us()},
          {"queue", times.queue_us()},
          {"execute", times.execute_us()},
          {"postprocess", times.postprocess_us()},
          {"total", times.total_us()}};
}

Json InputJson(const InputResult& input) {
  Json json = {{"file", input.input}};
  if (!input.model.empty()) {
    json["model"] = input.model;
    json["version"] = input.version;
  }
  if (!input.result.ok()) {
    json["error"] = ErrorJson(input.result.status());
    return json;
  }
  json["classes"] = Json::array();
  for (const v1::Class& one : input.result->classes()) {
    json["classes"].push_back({{"index", one.index()},
                               {"label", one.label()},
                               {"probability", Shortest(one.probability())}});
  }
  json["non_finite"] = input.result->non_finite();
  json["times_us"] = TimesJson(input.result->times());
  return json;
}

template <typename Numbers>
Json NumbersJson(const Numbers& numbers) {
  Json json = Json::array();
  for (const auto number : numbers) json.push_back(number);
  return json;
}

template <typename Tensors>
Json TensorsJson(const Tensors& tensors) {
  Json json = Json::array();
  for (const v1::TensorDescription& tensor : tensors) {
    json.push_back({{"name", tensor.name()},
                    {"data_type", tensor.data_type()},
                    {"shape", NumbersJson(tensor.shape())}});
  }
  return json;
}

template <typename Texts>
Json TextsJson(const Texts& texts) {
  Json json = Json::array();
  for (const std::string& text : texts) json.push_back(text);
  return json;
}

Json SchedulingJson(const v1::Scheduling& scheduling) {
  Json costs = Json::array();
  for (const v1::RunCost& cost : scheduling.costs()) {
    costs.push_back({{"open_sizes", NumbersJson(cost.open_sizes())},
                     {"bucket", cost.bucket()},
                     {"mean_us", cost.mean_us()},
                     {"runs", cost.runs()}});
  }
  return {{"rows_per_batch_max", scheduling.rows_per_batch_max()},
          {"buckets", NumbersJson(scheduling.buckets())},
          {"rows_waiting", scheduling.rows_waiting()},
          {"rows_waiting_max", scheduling.rows_waiting_max()},
          {"delay_us_max", scheduling.delay_us_max()},
          {"regroup_us_max", scheduling.regroup_us_max()},
          {"executors_max", scheduling.executors_max()},
          {"ageing_ms", scheduling.ageing_ms()},
          {"timeout_ms", scheduling.timeout_ms()},
          {"non_finite", NonFiniteName(scheduling.non_finite())},
          {"text_lengths", NumbersJson(scheduling.text_lengths())},
          {"note", scheduling.note()},
          {"costs", costs}};
}

Json PlanJson(const v1::PlanReport& plan) {
  Json candidates = Json::array();
  for (const v1::PlanCandidate& candidate : plan.candidates()) {
    candidates.push_back({{"plan", candidate.plan()},
                          {"threads", candidate.threads()},
                          {"state", candidate.state()},
                          {"run_us", candidate.run_us()},
                          {"ratio", candidate.ratio()},
                          {"difference", candidate.difference()},
                          {"reason", candidate.reason()}});
  }
  return {
      {"plan", plan.plan()},           {"threads", plan.threads()},     {"why", plan.why()},
      {"fallbacks", plan.fallbacks()}, {"searching", plan.searching()}, {"candidates", candidates}};
}

Json ImageJson(const v1::ImageInput& image) {
  Json mean = Json::array();
  Json deviation = Json::array();
  for (const float one : image.mean()) mean.push_back(Shortest(one));
  for (const float one : image.std()) deviation.push_back(Shortest(one));
  return {{"formats", TextsJson(image.formats())},
          {"preset", image.preset()},
          {"resize", image.resize()},
          {"crop", image.crop()},
          {"filter", image.filter()},
          {"antialias", image.antialias()},
          {"layout", image.layout()},
          {"data_type", image.data_type()},
          {"scale", image.has_scale() ? Shortest(image.scale()) : Json(nullptr)},
          {"mean", mean},
          {"std", deviation}};
}

Json TextJson(const v1::TextInput& text) {
  return {{"tokens_max", text.tokens_max()},
          {"lengths", NumbersJson(text.lengths())},
          {"lowercase", text.lowercase()},
          {"bytes_max", text.bytes_max()}};
}

Json ModelJson(const v1::ModelVersion& model) {
  return {
      {"name", model.name()},
      {"version", model.version()},
      {"state", StateName(model.state())},
      {"reason", model.reason()},
      {"inputs", TensorsJson(model.inputs())},
      {"outputs", TensorsJson(model.outputs())},
      {"takes", TextsJson(model.takes())},
      {"labels", model.labels()},
      {"activation", model.activation()},
      {"threshold", model.has_threshold() ? Shortest(model.threshold()) : Json(nullptr)},
      {"load_ms", model.load_ms()},
      {"version_labels", TextsJson(model.version_labels())},
      {"notes", TextsJson(model.notes())},
      {"memory_bytes", model.memory_bytes()},
      {"plan", model.has_plan() ? PlanJson(model.plan()) : Json(nullptr)},
      {"scheduling", model.has_scheduling() ? SchedulingJson(model.scheduling()) : Json(nullptr)},
      {"image", model.has_image() ? ImageJson(model.image()) : Json(nullptr)},
      {"text", model.has_text() ? TextJson(model.text()) : Json(nullptr)}};
}

}  // namespace

bool IsUtf8(const std::string& text) { return Json::parse(Dump(text)) == Json(text); }

std::string ClassifyJson(const std::vector<InputResult>& results) {
  Json json = Json::array();
  for (const InputResult& result : results) json.push_back(InputJson(result));
  return Dump(json);
}

std::string ModelsJson(const v1::ListModelsResponse& response) {
  Json json = Json::array();
  for (const v1::ModelVersion& model : response.models()) json.push_back(ModelJson(model));
  return Dump(json);
}

std::string ExplainJson(const v1::ModelVersion& model) {
  Json json = ModelJson(model);
  for (const char* const key :
       {"state", "reason", "load_ms", "notes", "memory_bytes", "plan", "scheduling"}) {
    json.erase(key);
  }
  return Dump(json);
}

std::string StatusJson(const v1::GetServerStatusResponse& response) {
  Json executors = Json::array();
  for (const v1::ExecutorStatus& executor : response.executors()) {
    executors.push_back({{"name", executor.name()},
                         {"threads", executor.threads()},
                         {"rows_waiting", executor.rows_waiting()},
                         {"rows_waiting_max", executor.rows_waiting_max()},
                         {"rows_run", executor.rows_run()},
                         {"rows_running", executor.rows_running()}});
  }
  return Dump({{"version", response.version()},
               {"libtorch_version", response.libtorch_version()},
               {"uptime_ms", response.uptime_ms()},
               {"draining", response.draining()},
               {"versions_ready", response.versions_ready()},
               {"versions_total", response.versions_total()},
               {"items_ok", response.items_ok()},
               {"items_failed", response.items_failed()},
               {"executors", executors}});
}

}  // namespace torchd
