#include "client/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"

namespace torchd {
namespace {

using nlohmann::json;
using testing::HasSubstr;

v1::ClassifyResult Cat(float probability = 0.3F) {
  v1::ClassifyResult result;
  v1::Class* one = result.add_classes();
  one->set_index(281);
  one->set_label("tabby");
  one->set_probability(probability);
  v1::StageTimes* times = result.mutable_times();
  times->set_preprocess_us(1);
  times->set_queue_us(2);
  times->set_execute_us(3);
  times->set_postprocess_us(4);
  times->set_total_us(10);
  return result;
}

TEST(IsUtf8Test, TellsTextFromOtherBytes) {
  for (const std::string text : {"", "I liked it", "\"\\\n\x01", "\u00e9\U0001f408\ufffd"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
  }
  EXPECT_TRUE(IsUtf8(std::string("a\0b", 3)));
  for (const std::string bytes : {"\xff", "caf\xe9", "\xc3", "\xed\xa0\x80"}) {
    EXPECT_FALSE(IsUtf8(bytes));
  }
}

TEST(ClassifyJsonTest, HoldsOneObjectPerInputInOrder) {
  const json answer = json::parse(
      ClassifyJson({{"cat.jpg", "lite0", 2, Cat()},
                    {"bad.jpg", "lite0", 2, absl::InvalidArgumentError("not a JPEG")}}));
  EXPECT_EQ(answer, json::parse(R"([
    {"file": "cat.jpg", "model": "lite0", "version": 2,
     "classes": [{"index": 281, "label": "tabby", "probability": 0.3}], "non_finite": false,
     "times_us": {"preprocess": 1, "queue": 2, "execute": 3, "postprocess": 4, "total": 10}},
    {"file": "bad.jpg", "model": "lite0", "version": 2,
     "error": {"code": "INVALID_ARGUMENT", "message": "not a JPEG"}}])"));
}

TEST(ClassifyJsonTest, LeavesOutTheModelWhenNoneRan) {
  const json answer =
      json::parse(ClassifyJson({{"cat.jpg", "", 0, absl::NotFoundError("no model 'x'")}}));
  EXPECT_FALSE(answer[0].contains("model"));
  EXPECT_FALSE(answer[0].contains("version"));
  EXPECT_EQ(answer[0]["error"]["code"], "NOT_FOUND");
}

TEST(ClassifyJsonTest, IsAnEmptyArrayWithoutResults) { EXPECT_EQ(ClassifyJson({}), "[]\n"); }

TEST(ClassifyJsonTest, ShowsFloatsAsShortAsTheyAre) {
  EXPECT_THAT(ClassifyJson({{"f", "m", 1, Cat(0.1F)}}), HasSubstr("\"probability\": 0.1\n"));
}

TEST(ClassifyJsonTest, ShowsAnInfiniteScoreAsNull) {
  const float infinity = std::numeric_limits<float>::infinity();
  const json answer = json::parse(ClassifyJson({{"f", "m", 1, Cat(infinity)}}));
  EXPECT_TRUE(answer[0]["classes"][0]["probability"].is_null());
}

TEST(ClassifyJsonTest, SaysWhereScoresWereLeftOut) {
  v1::ClassifyResult result = Cat();
  result.set_non_finite(true);
  EXPECT_EQ(json::parse(ClassifyJson({{"f", "m", 1, result}}))[0]["non_finite"], true);
}

// A file name is any bytes; nlohmann's dump() throws on those unless told otherwise.
TEST(ClassifyJsonTest, ReplacesBytesThatAreNotUtf8) {
  const json answer = json::parse(ClassifyJson({{"caf\xE9.jpg", "m", 1, Cat()}}));
  EXPECT_EQ(answer[0]["file"], "caf\uFFFD.jpg");
}

TEST(ModelsJsonTest, HoldsEveryField) {
  v1::ListModelsResponse response;
  v1::ModelVersion* model = response.add_models();
  model->set_name("lite0");
  model->set_version(2);
  model->set_state(v1::VERSION_STATE_READY);
  v1::TensorDescription* input = model->add_inputs();
  input->set_name("pixels");
  input->set_data_type("float32");
  for (const int size : {3, 224, -1}) input->add_shape(size);
  model->add_outputs()->set_name("scores");
  model->add_takes("tensor");
  model->add_takes("image");
  model->set_labels(1000);
  model->set_load_ms(120);
  model->set_activation("sigmoid");
  model->set_threshold(0.1F);
  model->add_version_labels("stable");
  model->add_notes("config.pbtxt is not read");
  model->set_memory_bytes(5'000'000'000);
  EXPECT_EQ(json::parse(ModelsJson(response)), json::parse(R"([{
    "name": "lite0", "version": 2, "state": "READY", "reason": "",
    "inputs": [{"name": "pixels", "data_type": "float32", "shape": [3, 224, -1]}],
    "outputs": [{"name": "scores", "data_type": "", "shape": []}],
    "takes": ["tensor", "image"], "labels": 1000, "activation": "sigmoid", "threshold": 0.1, "load_ms": 120,
    "version_labels": ["stable"], "notes": ["config.pbtxt is not read"],
    "memory_bytes": 5000000000, "plan": null, "scheduling": null, "image": null, "text": null}])"));
}

TEST(ExplainJsonTest, HoldsWhatAModelTakesAndAnswers) {
  v1::ModelVersion model;
  model.set_name("both");
  model.set_version(2);
  model.add_takes("image");
  v1::ImageInput& image = *model.mutable_image();
  image.add_formats("jpeg");
  image.set_preset("imagenet");
  image.set_resize(256);
  image.set_crop(224);
  image.set_filter("bicubic");
  image.set_antialias(true);
  image.add_mean(0.485F);
  image.add_std(0.229F);
  image.set_layout("chw");
  image.set_data_type("float32");
  image.set_scale(0.25F);
  v1::TextInput& text = *model.mutable_text();
  text.set_tokens_max(512);
  text.add_lengths(16);
  text.set_lowercase(true);
  text.set_bytes_max(1048576);
  EXPECT_EQ(json::parse(ExplainJson(model)), json::parse(R"({
    "name": "both", "version": 2, "takes": ["image"], "inputs": [], "outputs": [], "labels": 0,
    "activation": "", "threshold": null,
    "version_labels": [],
    "image": {"formats": ["jpeg"], "preset": "imagenet", "resize": 256, "crop": 224,
              "filter": "bicubic", "antialias": true, "layout": "chw", "data_type": "float32", "scale": 0.25, "mean": [0.485],
              "std": [0.229]},
    "text": {"tokens_max": 512, "lengths": [16], "lowercase": true, "bytes_max": 1048576}})"));
}

TEST(ModelsJsonTest, HoldsEveryFieldOfScheduling) {
  v1::ListModelsResponse response;
  v1::Scheduling* scheduling = response.add_models()->mutable_scheduling();
  scheduling->set_rows_per_batch_max(4);
  for (const int bucket : {1, 2, 4}) scheduling->add_buckets(bucket);
  scheduling->set_rows_waiting(3);
  scheduling->set_rows_waiting_max(256);
  scheduling->set_delay_us_max(500);
  scheduling->set_regroup_us_max(700);
  scheduling->set_executors_max(2);
  scheduling->set_ageing_ms(1000);
  scheduling->set_timeout_ms(800);
  scheduling->set_non_finite(v1::NON_FINITE_POLICY_FLAG);
  scheduling->add_text_lengths(64);
  scheduling->set_note("rows run one by one");
  v1::RunCost* cost = scheduling->add_costs();
  cost->add_open_sizes(64);
  cost->set_bucket(2);
  cost->set_mean_us(1500);
  cost->set_runs(9);
  EXPECT_EQ(json::parse(ModelsJson(response))[0]["scheduling"], json::parse(R"({
    "rows_per_batch_max": 4, "buckets": [1, 2, 4], "rows_waiting": 3, "rows_waiting_max": 256,
    "delay_us_max": 500, "regroup_us_max": 700, "executors_max": 2, "ageing_ms": 1000, "timeout_ms": 800,
    "non_finite": "flag", "text_lengths": [64], "note": "rows run one by one",
    "costs": [{"open_sizes": [64], "bucket": 2, "mean_us": 1500, "runs": 9}]})"));
}

TEST(ModelsJsonTest, IsAnEmptyArrayWithoutModels) { EXPECT_EQ(ModelsJson({}), "[]\n"); }

TEST(StatusJsonTest, HoldsEveryField) {
  v1::GetServerStatusResponse response;
  response.set_version("0.1.0");
  response.set_libtorch_version("2.11.0");
  response.set_uptime_ms(5'000'000'000);  // More than 32 bits hold.
  response.set_draining(true);
  response.set_versions_ready(1);
  response.set_versions_total(2);
  response.set_items_ok(3);
  response.set_items_failed(4);
  v1::ExecutorStatus* executor = response.add_executors();
  executor->set_name("cpu:0");
  executor->set_threads(2);
  executor->set_rows_waiting(5);
  executor->set_rows_waiting_max(256);
  executor->set_rows_run(6);
  executor->set_rows_running(7);
  EXPECT_EQ(json::parse(StatusJson(response)), json::parse(R"({
    "version": "0.1.0", "libtorch_version": "2.11.0", "uptime_ms": 5000000000, "draining": true,
    "versions_ready": 1, "versions_total": 2, "items_ok": 3, "items_failed": 4,
    "executors": [{"name": "cpu:0", "threads": 2, "rows_waiting": 5, "rows_waiting_max": 256,
                   "rows_run": 6, "rows_running": 7}]})"));
}

}  // namespace
}  // namespace torchd
