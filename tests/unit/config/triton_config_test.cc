#include "server/config/triton_config.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

using Kind = VersionPolicy::Kind;

TritonConfig Good(const std::string& text) {
  const auto parsed = ParseTritonConfig(text);
  EXPECT_TRUE(parsed.ok()) << parsed.status() << "\n" << text;
  return parsed.ok() ? *parsed : TritonConfig{};
}

std::string Error(const std::string& text) {
  const auto parsed = ParseTritonConfig(text);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text.substr(0, 200);
  return std::string(parsed.status().message());
}

// A photo classifier as most tutorials write it.
constexpr char kResnet50[] = R"(name: "resnet50"
platform: "pytorch_libtorch"
max_batch_size : 128
input [
  {
    name: "INPUT__0"
    data_type: TYPE_FP32
    format: FORMAT_NCHW
    dims: [ 3, 224, 224 ]
  }
]
output [
  {
    name: "OUTPUT__0"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    label_filename: "resnet50_labels.txt"
  }
]
dynamic_batching {
  preferred_batch_size: [ 16, 32 ]
  max_queue_delay_microseconds: 100
}
instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0 ] } ]
)";

// No batching: the batch dimension stands in dims, and reshape does the same for the output.
constexpr char kDensenet[] = R"(# Exported by torch.jit.trace.
name: 'densenet121'
backend: "pytorch"
max_batch_size: 0
input: { name: "x", data_type: TYPE_FP32, dims: [ 1, 3, 224, 224 ] }
output: { name: "scores", data_type: TYPE_FP32, dims: 1000, reshape { shape: [ 1, 1000 ] } }
version_policy: { all { } }
parameters: { key: "INFERENCE_MODE" value: { string_value: "true" } }
parameters: { key: "DISABLE_OPTIMIZED_EXECUTION" value: { string_value: "true" } }
)";

// A text classifier: inputs out of order, ordered by their index.
constexpr char kBert[] = R"(platform: "pytorch_libtorch"  # No name: the folder's.
max_batch_size: 32
input [
  < name: "attention_mask__1" data_type: TYPE_INT32 dims: [ -1 ] >,
  < name: "input_ids__0" data_type: TYPE_INT64 dims: [ -1 ] allow_ragged_batch: false >
]
output { name: "logits__0" data_type: TYPE_FP32 dims: [ 2 ] }
output { name: "hidden__2" data_type: TYPE_FP16 dims: [ -1, 768 ] label_filename: "x" }
version_policy { specific { versions: [ 3, 1, 3 ] } }
default_model_filename: "bert.pt"
dynamic_batching { }
model_warmup [ { name: "w" batch_size: 1 } ]
optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "tensorrt" } ] } }
)";

TEST(TritonConfigTest, Resnet50) {
  const TritonConfig config = Good(kResnet50);
  EXPECT_EQ(config.name, "resnet50");
  EXPECT_EQ(config.default_model_filename, "");
  EXPECT_TRUE(config.inputs_have_indices);
  EXPECT_EQ(config.model.rows_per_batch_max, 128);
  EXPECT_EQ(config.model.queue.delay_us_max, 100);
  ASSERT_THAT(config.model.inputs, SizeIs(1));
  EXPECT_EQ(config.model.inputs[0].name, "INPUT__0");
  EXPECT_EQ(config.model.inputs[0].data_type, "float32");
  EXPECT_THAT(config.model.inputs[0].shape, ElementsAre(3, 224, 224));
  EXPECT_THAT(config.model.output_names, ElementsAre("OUTPUT__0"));
  EXPECT_EQ(config.model.labels, "resnet50_labels.txt");
  EXPECT_FALSE(config.model.version_policy.has_value());
  EXPECT_THAT(
      config.not_honoured,
      ElementsAre(
          "input[0].format (line 8): FORMAT_NCHW is a hint; dims say the shape",
          "dynamic_batching.preferred_batch_size (line 21): how many rows run together follows "
          "from what runs were measured to take",
          "instance_group (line 24): executors belong to the device: see cpu_executors in torchd's "
          "settings and queue.executors_max in model.yaml"));
}

TEST(TritonConfigTest, Densenet) {
  const TritonConfig config = Good(kDensenet);
  EXPECT_EQ(config.name, "densenet121");
  EXPECT_FALSE(config.inputs_have_indices);
  EXPECT_EQ(config.model.rows_per_batch_max, 1);
  ASSERT_THAT(config.model.inputs, SizeIs(1));
  EXPECT_THAT(config.model.inputs[0].shape, ElementsAre(3, 224, 224));
  EXPECT_THAT(config.model.output_names, ElementsAre("scores"));
  EXPECT_EQ(config.model.labels, "labels.txt");
  ASSERT_TRUE(config.model.version_policy.has_value());
  EXPECT_EQ(config.model.version_policy->kind, Kind::kAll);
  EXPECT_THAT(config.not_honoured,
              ElementsAre("parameters[\"DISABLE_OPTIMIZED_EXECUTION\"] (line 9): models always run "
                          "optimized"));
}

TEST(TritonConfigTest, Bert) {
  const TritonConfig config = Good(kBert);
  EXPECT_EQ(config.name, "");
  EXPECT_EQ(config.default_model_filename, "bert.pt");
  EXPECT_TRUE(config.inputs_have_indices);
  ASSERT_THAT(config.model.inputs, SizeIs(2));
  EXPECT_EQ(config.model.inputs[0].name, "input_ids__0");
  EXPECT_EQ(config.model.inputs[0].data_type, "int64");
  EXPECT_EQ(config.model.inputs[1].name, "attention_mask__1");
  EXPECT_EQ(config.model.inputs[1].data_type, "int32");
  EXPECT_THAT(config.model.inputs[1].shape, ElementsAre(-1));
  EXPECT_THAT(config.model.output_names, ElementsAre("logits__0", "", "hidden__2"));
  EXPECT_EQ(config.model.labels, "labels.txt");
  ASSERT_TRUE(config.model.version_policy.has_value());
  EXPECT_EQ(config.model.version_policy->kind, Kind::kSpecific);
  EXPECT_THAT(config.model.version_policy->specific, ElementsAre(3, 1));
  EXPECT_THAT(
      config.not_honoured,
      ElementsAre(StartsWith("output[1].data_type (line 8): TYPE_FP16; "),
                  StartsWith("model_warmup (line 12): "), StartsWith("optimization (line 13): "),
                  StartsWith("output[1].label_filename (line 8): ")));
}

TEST(TritonConfigTest, EmptyTextSaysNothing) {
  for (const char* text : {"", "# nothing\n", "name: '' platform: '' backend: ''"}) {
    const TritonConfig config = Good(text);
    EXPECT_EQ(config.name, "");
    EXPECT_THAT(config.model.inputs, IsEmpty());
    EXPECT_FALSE(config.inputs_have_indices);
    EXPECT_THAT(config.model.output_names, IsEmpty());
    EXPECT_EQ(config.model.rows_per_batch_max, 1);  // Triton's default is no batching.
    EXPECT_FALSE(config.model.version_policy.has_value());
    EXPECT_THAT(config.not_honoured, IsEmpty());
  }
}

TEST(TritonConfigTest, BackendsOfPyTorchAreTaken) {
  for (const char* text :
       {"platform: 'pytorch_libtorch'", "platform: 'pytorch'", "backend: 'pytorch'",
        "backend: 'pytorch_libtorch'", "backend: 'pytorch' platform: 'torch_aoti'"}) {
    EXPECT_THAT(Good(text).not_honoured, IsEmpty()) << text;
  }
  for (const char* text : {"backend: 'python'", "backend: 'onnxruntime'", "backend: 'ensemble'"}) {
    EXPECT_THAT(Error(text), AllOf(StartsWith("config.pbtxt:1: backend is \""),
                                   HasSubstr("expected pytorch or pytorch_libtorch")));
  }
  for (const char* text : {"\nplatform: 'onnxruntime_onnx'", "\nplatform: 'ensemble'"}) {
    EXPECT_THAT(Error(text), AllOf(StartsWith("config.pbtxt:2: platform is \""),
                                   HasSubstr("expected pytorch_libtorch or pytorch")));
  }
}

TEST(TritonConfigTest, MaxBatchSizeMayStandBehindTheInputs) {
  const std::string input = "input { name: 'x' data_type: TYPE_UINT8 dims: [ 1, 5 ] } ";
  EXPECT_THAT(Good(input + "max_batch_size: 4").model.inputs[0].shape, ElementsAre(1, 5));
  EXPECT_EQ(Good(input + "max_batch_size: 4").model.rows_per_batch_max, 4);
  EXPECT_THAT(Good(input).model.inputs[0].shape, ElementsAre(5));
  EXPECT_THAT(Good("max_batch_size: 0 " + input).model.inputs[0].shape, ElementsAre(5));
  EXPECT_THAT(Good("input { name: 'x' data_type: TYPE_FP32 dims: -1 }").model.inputs[0].shape,
              IsEmpty());
  EXPECT_THAT(Error("input {\n name: 'x' data_type: TYPE_FP32\n dims: 3 dims: 4 }"),
              AllOf(StartsWith("config.pbtxt:3: input[0].dims[0] is 3, expected 1 or -1"),
                    HasSubstr("max_batch_size 0")));
  const TritonConfig large = Good("max_batch_size: 0x1000");
  EXPECT_EQ(large.model.rows_per_batch_max, 1024);
  EXPECT_THAT(large.not_honoured,
              ElementsAre("max_batch_size (line 1): 4096; at most 1024 rows run together"));
}

TEST(TritonConfigTest, InputsAreOrderedByIndexOnlyIfAllHaveOne) {
  const auto names = [](const std::vector<std::string>& inputs) {
    std::string text = "max_batch_size: 1 ";
    for (const std::string& name : inputs) {
      absl::StrAppend(&text, "input { name: '", name, "' data_type: TYPE_FP32 dims: 1 } ");
    }
    const TritonConfig config = Good(text);
    std::string order = config.inputs_have_indices ? "indexed:" : "as written:";
    for (const TensorConfig& input : config.model.inputs) absl::StrAppend(&order, " ", input.name);
    return order;
  };
  EXPECT_EQ(names({"b__1", "a__2", "c__0"}), "indexed: c__0 b__1 a__2");
  EXPECT_EQ(names({"b__01", "a__0"}), "indexed: a__0 b__01");
  EXPECT_EQ(names({"b__1", "a"}), "as written: b__1 a");
  EXPECT_EQ(names({"b__1", "a__x"}), "as written: b__1 a__x");
  EXPECT_EQ(names({"b__1", "a__"}), "as written: b__1 a__");
  EXPECT_EQ(names({"b_1", "a_0"}), "as written: b_1 a_0");
  EXPECT_EQ(names({"b__1", "a__b__0"}), "as written: b__1 a__b__0");
}

TEST(TritonConfigTest, VersionPolicies) {
  const auto policy = [](const std::string& text) {
    return Good("version_policy " + text).model.version_policy;
  };
  EXPECT_FALSE(policy("{ }").has_value());
  EXPECT_EQ(policy("{ latest { num_versions: 2 } }")->kind, Kind::kLatest);
  EXPECT_EQ(policy("{ latest { num_versions: 2 } }")->latest, 2);
  EXPECT_EQ(policy("< latest: < num_versions: 2147483647 > >")->latest, 2147483647);
  EXPECT_EQ(policy("{ all: {} }")->kind, Kind::kAll);
  EXPECT_THAT(policy("{ specific { versions: 7 versions: 9223372036854775807 } }")->specific,
              ElementsAre(7, INT64_MAX));
  const TritonConfig odd = Good("version_policy { all { x: 1 } y { } }");
  EXPECT_THAT(odd.not_honoured,
              ElementsAre(StartsWith("version_policy.all.x (line 1): not a field"),
                          StartsWith("version_policy.y (line 1): not a field")));
}

TEST(TritonConfigTest, WhatIsNotHonouredIsListedOnceAndOnlyIfItSaysSomething) {
  const TritonConfig config = Good(R"(
    instance_group { kind: KIND_CPU } instance_group { kind: KIND_GPU }
    runtime: "model.py"
    batch_input { kind: BATCH_ELEMENT_COUNT } batch_output { }
    cc_model_filenames { key: "7.5" value: "x.pt" } metric_tags { key: "a" value: "b" }
    model_operations { op_library_filename: "lib.so" } model_repository_agents { agents [ ] }
    model_metrics { } response_cache { enable: true }
    model_transaction_policy { decoupled: false }
    input { name: "a" data_type: TYPE_INT64 dims: -1 optional: true is_shape_tensor: true
            allow_ragged_batch: true is_non_linear_format_io: true format: FORMAT_NONE
            reshape { shape: [ 1, 2 ] } foo: 1 }
    output { name: "b" data_type: TYPE_INT64 dims: 4 is_shape_tensor: true
             is_non_linear_format_io: true }
    dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1
      default_queue_policy { } priority_queue_policy { key: 1 value { } } foo: 1 }
    parameters { key: "NUM_THREADS" value { string_value: "4" } }
    parameters { key: "x\n" value { bool_value: true } } parameters { }
    [torchd.extension]: 1 foo: 1 foo: 2)");
  std::vector<std::string> paths;
  for (const std::string& line : config.not_honoured) {
    paths.push_back(line.substr(0, line.find(" (line ")));
    EXPECT_THAT(line, HasSubstr("): "));
  }
  EXPECT_THAT(absl::StrJoin(paths, " "),
              "instance_group runtime batch_input batch_output cc_model_filenames metric_tags "
              "model_operations model_repository_agents model_metrics response_cache.enable "
              "input[0].optional input[0].is_shape_tensor input[0].allow_ragged_batch "
              "input[0].is_non_linear_format_io input[0].foo output[0].data_type "
              "output[0].is_shape_tensor output[0].is_non_linear_format_io "
              "dynamic_batching.preserve_ordering dynamic_batching.priority_levels "
              "dynamic_batching.default_priority_level dynamic_batching.priority_queue_policy "
              "dynamic_batching.foo "
              "parameters[\"NUM_THREADS\"] parameters[1].value.bool_value parameters[\"x\\n\"] "
              "parameters[\"\"] [torchd.extension] foo input[0].reshape");
  EXPECT_THAT(config.not_honoured,
              Contains("foo (line 18): not a field of config.pbtxt that torchd knows"));

  EXPECT_THAT(Good("input { name: 'a' data_type: TYPE_INT64 dims: [ 1, 2 ] optional: false "
                   "is_shape_tensor: 0 reshape { shape: [ 1, 2 ] } }"
                   "dynamic_batching { max_queue_delay_microseconds: 0 preserve_ordering: f }"
                   "response_cache { enable: false } runtime: '' optimization [ ]")
                  .not_honoured,
              IsEmpty());
}

TEST(TritonConfigTest, TheListOfWhatIsNotHonouredIsBounded) {
  std::string text;
  for (int i = 0; i < 150; ++i) absl::StrAppend(&text, "foo", i, ": 1\n");
  const TritonConfig config = Good(text);
  ASSERT_THAT(config.not_honoured, SizeIs(101));
  EXPECT_EQ(config.not_honoured.back(), "and 50 more");
}

// All that a caller sees.
std::string Render(const absl::StatusOr<TritonConfig>& parsed) {
  if (!parsed.ok()) return parsed.status().ToString();
  const ModelConfig& model = parsed->model;
  std::string text =
      absl::StrCat(parsed->name, "|", parsed->default_model_filename, "|", model.labels, "|",
                   model.rows_per_batch_max, "|", absl::StrJoin(model.output_names, ","), "|");
  for (const TensorConfig& input : model.inputs) {
    absl::StrAppend(&text, input.name, " ", input.data_type, " ", absl::StrJoin(input.shape, ","));
  }
  if (model.version_policy) absl::StrAppend(&text, "|", model.version_policy->latest);
  return absl::StrCat(text, "|", absl::StrJoin(parsed->not_honoured, "\n"));
}

// Texts that differ from real ones by a word: no crash, the same result twice, and nothing that a
// caller may not rely on.
TEST(TritonConfigTest, MutatedTextsNeverCrash) {
  const std::vector<std::string> words = {" ",
                                          "1",
                                          "-1",
                                          "0",
                                          "[",
                                          "]",
                                          "{",
                                          "}",
                                          ",",
                                          "'x'",
                                          "name:",
                                          "dims:",
                                          "input",
                                          "output",
                                          "data_type: TYPE_FP32",
                                          "version_policy {",
                                          "latest {",
                                          "reshape {",
                                          "shape:",
                                          "parameters {",
                                          "key:",
                                          "value {",
                                          "999999999999",
                                          "a__1",
                                          "max_batch_size: 7",
                                          "TYPE_INT64",
                                          "\n"};
  std::mt19937 random(20240612);  // NOLINT(bugprone-random-generator-seed): the same every time.
  const auto below = [&](size_t n) { return random() % n; };
  int good = 0;
  for (int round = 0; round < 6'000; ++round) {
    const char* const seeds[] = {kResnet50, kDensenet, kBert};
    std::string text = seeds[below(3)];
    for (size_t changes = 1 + below(3); changes > 0; --changes) {
      const size_t at = below(text.size());
      if (below(2) == 0) text.erase(at, 1 + below(12));
      text.insert(std::min(at, text.size()), words[below(words.size())]);
    }
    const auto parsed = ParseTritonConfig(text);
    ASSERT_EQ(Render(parsed), Render(ParseTritonConfig(text))) << text;
    if (!parsed.ok()) {
      ASSERT_THAT(std::string(parsed.status().message()), StartsWith("config.pbtxt:")) << text;
      continue;
    }
    ++good;
    const ModelConfig& model = parsed->model;
    ASSERT_GE(model.rows_per_batch_max, 1);
    ASSERT_LE(model.rows_per_batch_max, 1024);
    ASSERT_LE(model.inputs.size(), 64U);
    for (const TensorConfig& input : model.inputs) {
      ASSERT_FALSE(input.name.empty());
      ASSERT_FALSE(input.data_type.empty());
      ASSERT_LE(input.shape.size(), 8U);
    }
  }
  EXPECT_GT(good, 300);
}

}  // namespace
}  // namespace torchd
