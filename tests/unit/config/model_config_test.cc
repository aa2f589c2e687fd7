#include "server/config/model_config.h"

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;

ModelConfig Good(const std::string& yaml) {
  const auto parsed = ParseModelConfig(yaml);
  EXPECT_TRUE(parsed.ok()) << parsed.status() << "\n" << yaml;
  return parsed.ok() ? *parsed : ModelConfig{};
}

std::string Error(const std::string& yaml) {
  const auto parsed = ParseModelConfig(yaml);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << yaml.substr(0, 200);
  return std::string(parsed.status().message());
}

TEST(ModelConfigTest, EmptyFileGivesTheDefaults) {
  for (const char* yaml : {"", "# only a comment\n", "---\n", "{}\n"}) {
    const ModelConfig config = Good(yaml);
    EXPECT_THAT(config.inputs, IsEmpty());
    EXPECT_EQ(config.labels, "labels.txt");
    EXPECT_EQ(config.activation, Activation::kSoftmax);
    EXPECT_FALSE(config.image.has_value());
    EXPECT_FALSE(config.text.has_value());
    EXPECT_EQ(config.rows_per_batch_max, 0);
    EXPECT_THAT(config.output_names, IsEmpty());
    EXPECT_FALSE(config.version_policy.has_value());
    EXPECT_THAT(config.version_labels, IsEmpty());
  }
}

TEST(ModelConfigTest, ImageReadsEveryKey) {
  const ModelConfig config = Good(
      "labels: names.txt\nsoftmax: false\nimage:\n  resize: 4096\n  crop: 1\n  filter: bicubic\n"
      "  antialias: false\n  mean: [0, -1, 2.5]\n  std: [1, 1e-3, 255]\n");
  EXPECT_EQ(config.labels, "names.txt");
  EXPECT_EQ(config.activation, Activation::kNone);
  ASSERT_TRUE(config.image.has_value());
  EXPECT_EQ(config.image->resize, 4096);
  EXPECT_EQ(config.image->crop, 1);
  EXPECT_EQ(config.image->filter, ResizeFilter::kBicubic);
  EXPECT_FALSE(config.image->antialias);
  EXPECT_THAT(config.image->mean, ElementsAre(0.F, -1.F, 2.5F));
  EXPECT_THAT(config.image->std, ElementsAre(1.F, 1e-3F, 255.F));
}

TEST(ModelConfigTest, PresetsDifferByMeanAndStd) {
  for (const char* yaml : {"image: {}\n", "image: {preset: imagenet}\n"}) {
    const ModelConfig config = Good(yaml);
    ASSERT_TRUE(config.image.has_value());
    EXPECT_THAT(config.image->mean, ElementsAre(0.485F, 0.456F, 0.406F));
    EXPECT_THAT(config.image->std, ElementsAre(0.229F, 0.224F, 0.225F));
  }
  const ModelConfig halves = Good("image: {preset: imagenet-0.5}\n");
  ASSERT_TRUE(halves.image.has_value());
  EXPECT_THAT(halves.image->mean, ElementsAre(0.5F, 0.5F, 0.5F));
  EXPECT_THAT(halves.image->std, ElementsAre(0.5F, 0.5F, 0.5F));
  EXPECT_EQ(halves.image->resize, 256);
  EXPECT_EQ(halves.image->crop, 224);
  EXPECT_EQ(halves.image->filter, ResizeFilter::kBilinear);
}

TEST(ModelConfigTest, KeysOverrideThePresetWhereverItStands) {
  const ModelConfig config =
      Good("image: {crop: 300, std: [1, 1, 1], preset: imagenet-0.5, filter: nearest}\n");
  ASSERT_TRUE(config.image.has_value());
  EXPECT_EQ(config.image->crop, 300);  // Larger than resize: padded.
  EXPECT_EQ(config.image->filter, ResizeFilter::kNearest);
  EXPECT_THAT(config.image->mean, ElementsAre(0.5F, 0.5F, 0.5F));
  EXPECT_THAT(config.image->std, ElementsAre(1.F, 1.F, 1.F));
}

TEST(ModelConfigTest, TextReadsEveryKey) {
  const ModelConfig defaults = Good("text: {}\n");
  ASSERT_TRUE(defaults.text.has_value());
  EXPECT_EQ(defaults.text->vocabulary, "vocab.txt");
  EXPECT_EQ(defaults.text->lowercase, std::nullopt);
  EXPECT_EQ(defaults.text->tokens_max, 512);
  const ModelConfig config = Good("text: {vocabulary: v, lowercase: false, tokens_max: 8192}\n");
  ASSERT_TRUE(config.text.has_value());
  EXPECT_EQ(config.text->vocabulary, "v");
  EXPECT_EQ(config.text->lowercase, false);
  EXPECT_EQ(config.text->tokens_max, 8192);
}

TEST(ModelConfigTest, InputsKeepTheirOrder) {
  const ModelConfig config = Good(
      "inputs:\n- {name: ids, data_type: int64, shape: [-1]}\n"
      "- {name: x, data_type: float32, shape: [3, 224, 224]}\n"
      "- {name: scalar, data_type: uint8, shape: []}\n"
      "- {name: wide, data_type: int32, shape: [1, 1, 1, 1, 1, 1, 1, -1]}\n");
  ASSERT_EQ(config.inputs.size(), 4U);
  EXPECT_EQ(config.inputs[0].name, "ids");
  EXPECT_EQ(config.inputs[0].data_type, "int64");
  EXPECT_THAT(config.inputs[0].shape, ElementsAre(-1));
  EXPECT_THAT(config.inputs[1].shape, ElementsAre(3, 224, 224));
  EXPECT_THAT(config.inputs[2].shape, IsEmpty());
  EXPECT_EQ(config.inputs[3].shape.size(), 8U);
}

TEST(ModelConfigTest, RowsPerBatchMaxIsRead) {
  EXPECT_EQ(Good("rows_per_batch_max: 1\n").rows_per_batch_max, 1);
  EXPECT_EQ(Good("rows_per_batch_max: 1024\n").rows_per_batch_max, 1024);
}

TEST(ModelConfigTest, QueueReadsEveryKey) {
  for (const char* yaml : {"", "queue: {}\n"}) {
    const QueueConfig defaults = Good(yaml).queue;
    EXPECT_EQ(defaults.rows_waiting_max, 0);
    EXPECT_EQ(defaults.delay_us_max, 0);
    EXPECT_EQ(defaults.regroup_us_max, 10'000);
    EXPECT_EQ(defaults.executors_max, 0);
    EXPECT_EQ(defaults.ageing_ms, 1000);
  }
  const QueueConfig most = Good(
                               "queue: {rows_waiting_max: 1000000, delay_us_max: 10000000, "
                               "regroup_us_max: 9999999, executors_max: 64, ageing_ms: 600000}\n")
                               .queue;
  EXPECT_EQ(most.rows_waiting_max, 1'000'000);
  EXPECT_EQ(most.delay_us_max, 10'000'000);
  EXPECT_EQ(most.regroup_us_max, 9'999'999);
  EXPECT_EQ(most.executors_max, 64);
  EXPECT_EQ(most.ageing_ms, 600'000);
  const QueueConfig least =
      Good(
          "queue: {rows_waiting_max: 1, delay_us_max: 0, regroup_us_max: 0, executors_max: 1, "
          "ageing_ms: 0}\n")
          .queue;
  EXPECT_EQ(least.rows_waiting_max, 1);
  EXPECT_EQ(least.regroup_us_max, 0);
  EXPECT_EQ(least.executors_max, 1);
  EXPECT_EQ(least.ageing_ms, 0);
}

TEST(ModelConfigTest, TimeoutAndNonFiniteAreRead) {
  EXPECT_EQ(Good("").timeout_ms, 0);
  EXPECT_EQ(Good("timeout_ms: 0\n").timeout_ms, 0);
  EXPECT_EQ(Good("timeout_ms: 3600000\n").timeout_ms, 3'600'000);
  EXPECT_EQ(Good("").non_finite, NonFinite::kError);
  EXPECT_EQ(Good("non_finite: error\n").non_finite, NonFinite::kError);
  EXPECT_EQ(Good("non_finite: flag\n").non_finite, NonFinite::kFlag);
}

TEST(ModelConfigTest, LengthsOfTextsAscend) {
  const auto lengths = [](const std::string& list) {
    return Good("text: {lengths: " + list + "}\n").text->lengths;
  };
  EXPECT_THAT(Good("text: {}\n").text->lengths, ElementsAre(16, 32, 64, 128, 256, 512));
  EXPECT_THAT(lengths("[]"), IsEmpty());  // Texts stay as long as they are.
  EXPECT_THAT(lengths("[1, 8192]"), ElementsAre(1, 8192));
  std::string many = "1";
  for (int i = 2; i <= 64; ++i) many += "," + std::to_string(i);
  EXPECT_THAT(lengths("[" + many + "]"), SizeIs(64));
  EXPECT_THAT(Error("text: {lengths: [" + many + ",65]}\n"),
              AllOf(HasSubstr("text.lengths is a list of 65"),
                    HasSubstr("a list of 0..64 ascending lengths")));
}

TEST(ModelConfigTest, VersionsAreLatestAllOrSpecific) {
  const auto policy = [](const std::string& yaml) { return *Good(yaml + "\n").version_policy; };
  EXPECT_EQ(policy("versions: {latest: 1000}").kind, VersionPolicy::Kind::kLatest);
  EXPECT_EQ(policy("versions: {latest: 1000}").latest, 1000);
  EXPECT_EQ(policy("versions: {all: true}").kind, VersionPolicy::Kind::kAll);
  const VersionPolicy specific = policy("versions: {specific: [7, 9223372036854775807, 1]}");
  EXPECT_EQ(specific.kind, VersionPolicy::Kind::kSpecific);
  EXPECT_THAT(specific.specific, ElementsAre(7, INT64_MAX, 1));
  std::string many = "1";
  for (int i = 2; i <= 1000; ++i) many += "," + std::to_string(i);
  EXPECT_THAT(policy("versions: {specific: [" + many + "]}").specific, SizeIs(1000));
  EXPECT_THAT(Error("versions: {specific: [" + many + ",1001]}\n"),
              AllOf(HasSubstr("a list of 1001"), HasSubstr("a list of 1..1000 versions")));
}

TEST(ModelConfigTest, VersionsAreExactlyOneOfThem) {
  EXPECT_THAT(Error("softmax: true\nversions: {}\n"),
              HasSubstr("model.yaml:2: versions has 0 keys, expected exactly one of latest, all"));
  EXPECT_THAT(Error("versions: {latest: 1, all: true}\n"), HasSubstr("versions has 2 keys"));
  EXPECT_THAT(Error("versions: {newest: 1}\n"), HasSubstr("\"versions.newest\" is not a setting"));
}

TEST(ModelConfigTest, VersionLabelsNameVersions) {
  const std::string longest(128, 'x');
  const ModelConfig config =
      Good("version_labels: {stable: 3, _a.b-c: 3, 1: 9, " + longest + ": 4}\n");
  EXPECT_THAT(config.version_labels,
              ElementsAre(Pair("1", 9), Pair("_a.b-c", 3), Pair("stable", 3), Pair(longest, 4)));
  EXPECT_THAT(Good("version_labels: {}\n").version_labels, IsEmpty());
  for (const std::string& label : {std::string("-a"), std::string(".a"), std::string("''"),
                                   std::string("a b"), std::string("a/b"), longest + "x"}) {
    EXPECT_THAT(Error("softmax: true\nversion_labels: {" + label + ": 1}\n"),
                AllOf(HasSubstr("model.yaml:2: version_labels has the label "),
                      HasSubstr("expected a letter, digit")))
        << label;
  }
  EXPECT_THAT(Error("version_labels: {[a]: 1}\n"), HasSubstr("has the label a list of 1"));
  EXPECT_THAT(Error("version_labels: {a: 1, a: 2}\n"), HasSubstr("version_labels.a is set twice"));
  std::string many = "version_labels:\n";
  for (int i = 0; i < 64; ++i) many += "  l" + std::to_string(i) + ": 1\n";
  EXPECT_THAT(Good(many).version_labels, SizeIs(64));
  EXPECT_THAT(Error(many + "  more: 1\n"), HasSubstr("a mapping of at most 64 labels"));
}

TEST(ModelConfigTest, UnknownKeyIsRefusedByItsFullPath) {
  EXPECT_THAT(Error("softmax: true\noutputs: []\n"),
              AllOf(HasSubstr("model.yaml:2: \"outputs\""), HasSubstr("inputs, labels")));
  EXPECT_THAT(Error("image: {resise: 1}\n"), HasSubstr("\"image.resise\""));
  EXPECT_THAT(Error("text: {case: 1}\n"), HasSubstr("\"text.case\""));
  EXPECT_THAT(Error("queue: {delay: 1}\n"),
              AllOf(HasSubstr("\"queue.delay\""), HasSubstr("rows_waiting_max, delay_us_max")));
  EXPECT_THAT(Error("inputs: [{name: a, data_type: int64, shape: [1], dims: 1}]\n"),
              HasSubstr("\"inputs[0].dims\""));
  EXPECT_THAT(Error("<<: {softmax: true}\n"), HasSubstr("\"<<\""));
  EXPECT_THAT(Error("[a]: 1\n"), HasSubstr("<key> is a list"));
}

TEST(ModelConfigTest, WrongValueIsNamedWithWhatWasExpected) {
  struct Case {
    std::string yaml, path, value, expected;
  };
  const std::vector<Case> cases = {
      {"softmax: yes", "softmax", "\"yes\"", "true or false"},
      {"softmax: [true]", "softmax", "a list of 1", "true or false"},
      {"image:", "image", "empty", "{} for the defaults"},
      {"image: imagenet", "image", "\"imagenet\"", "a mapping"},
      {"text: [a]", "text", "a list", "a mapping"},
      {"image: {preset: mnist}", "image.preset", "\"mnist\"", "imagenet, imagenet-0.5"},
      {"image: {preset: [imagenet]}", "image.preset", "a list", "imagenet, imagenet-0.5"},
      {"image: {resize: 0}", "image.resize", "\"0\"", "1..4096"},
      {"image: {resize: 4097}", "image.resize", "\"4097\"", "1..4096"},
      {"image: {crop: 0}", "image.crop", "\"0\"", "1..4096"},
      {"image: {crop: 4097}", "image.crop", "\"4097\"", "1..4096"},
      {"image: {crop: 1.5}", "image.crop", "\"1.5\"", "1..4096"},
      {"image: {filter: lanczos}", "image.filter", "\"lanczos\"", "nearest, bilinear, bicubic"},
      {"image: {antialias: 1}", "image.antialias", "\"1\"", "true or false"},
      {"image: {mean: 0.5}", "image.mean", "\"0.5\"", "three numbers"},
      {"image: {mean: [1, 2]}", "image.mean", "a list of 2", "three numbers"},
      {"image: {mean: [1, x, 2]}", "image.mean[1]", "\"x\"", "a finite number"},
      {"image: {mean: [1, inf, 2]}", "image.mean[1]", "\"inf\"", "a finite number"},
      {"image: {mean: [1, 2, nan]}", "image.mean[2]", "\"nan\"", "a finite number"},
      {"image: {std: [1, 2, 0]}", "image.std[2]", "\"0\"", "above 0"},
      {"image: {std: [-1, 2, 3]}", "image.std[0]", "\"-1\"", "above 0"},
      {"image: {std: [1, 1e-40, 3]}", "image.std[1]", "\"1e-40\"", "above 0"},
      {"text: {tokens_max: 1}", "text.tokens_max", "\"1\"", "2..8192"},
      {"text: {tokens_max: 8193}", "text.tokens_max", "\"8193\"", "2..8192"},
      {"text: {lowercase: 2}", "text.lowercase", "\"2\"", "true or false"},
      {"rows_per_batch_max: 0", "rows_per_batch_max", "\"0\"", "1..1024"},
      {"rows_per_batch_max: 1025", "rows_per_batch_max", "\"1025\"", "1..1024"},
      {"text: {lengths: 16}", "text.lengths", "\"16\"", "a list of 0..64 ascending lengths"},
      {"text: {lengths: [0]}", "text.lengths[0]", "\"0\"", "1..8192"},
      {"text: {lengths: [16, 16]}", "text.lengths[1]", "\"16\"", "17..8192"},
      {"text: {lengths: [16, 8193]}", "text.lengths[1]", "\"8193\"", "17..8192"},
      {"queue: 256", "queue", "\"256\"", "rows_waiting_max, delay_us_max"},
      {"queue: {rows_waiting_max: 0}", "queue.rows_waiting_max", "\"0\"", "1..1000000"},
      {"queue: {rows_waiting_max: 1000001}", "queue.rows_waiting_max", "\"1000001\"", "1..1000000"},
      {"queue: {delay_us_max: -1}", "queue.delay_us_max", "\"-1\"", "0..10000000"},
      {"queue: {regroup_us_max: -1}", "queue.regroup_us_max", "\"-1\"", "0..10000000"},
      {"queue: {delay_us_max: 10000001}", "queue.delay_us_max", "\"10000001\"", "0..10000000"},
      {"queue: {executors_max: 0}", "queue.executors_max", "\"0\"", "1..64"},
      {"queue: {executors_max: 65}", "queue.executors_max", "\"65\"", "1..64"},
      {"queue: {ageing_ms: 600001}", "queue.ageing_ms", "\"600001\"", "0..600000"},
      {"timeout_ms: -1", "timeout_ms", "\"-1\"", "0..3600000"},
      {"timeout_ms: 3600001", "timeout_ms", "\"3600001\"", "0..3600000"},
      {"timeout_ms: 1s", "timeout_ms", "\"1s\"", "0..3600000"},
      {"non_finite: drop", "non_finite", "\"drop\"", "error, flag"},
      {"versions: 3", "versions", "\"3\"", "latest, all, specific"},
      {"versions: {latest: 0}", "versions.latest", "\"0\"", "1..1000"},
      {"versions: {latest: 1001}", "versions.latest", "\"1001\"", "1..1000"},
      {"versions: {all: false}", "versions.all", "\"false\"", "expected true"},
      {"versions: {specific: 1}", "versions.specific", "\"1\"", "a list of 1..1000 versions"},
      {"versions: {specific: []}", "versions.specific", "a list of 0", "a list of 1..1000"},
      {"versions: {specific: [1, 0]}", "versions.specific[1]", "\"0\"", "at least 1"},
      {"versions: {specific: [1, x]}", "versions.specific[1]", "\"x\"", "at least 1"},
      {"versions: {specific: [1, 2, 1]}", "versions.specific[2]", "\"1\"", "not listed before"},
      {"version_labels: [a]", "version_labels", "a list of 1", "a mapping of at most 64 labels"},
      {"version_labels: {a: 0}", "version_labels.a", "\"0\"", "a version, at least 1"},
      {"version_labels: {a: b}", "version_labels.a", "\"b\"", "a version, at least 1"},
      {"version_labels: {a: }", "version_labels.a", "empty", "a version, at least 1"},
      {"inputs: {name: a}", "inputs", "a mapping", "a list of at most 64"},
      {"inputs: [a]", "inputs[0]", "\"a\"", "name, data_type, shape"},
      {"inputs: [{name: '', data_type: int64, shape: []}]", "inputs[0].name", "\"\"", "1..255"},
      {"inputs: [{name: a, data_type: half, shape: []}]", "inputs[0].data_type", "\"half\"",
       "uint8, int32, int64, float32"},
      {"inputs: [{name: a, data_type: int64, shape: 3}]", "inputs[0].shape", "\"3\"", "at most 8"},
      {"inputs: [{name: a, data_type: int64, shape: [1,1,1,1,1,1,1,1,1]}]", "inputs[0].shape",
       "a list of 9", "at most 8"},
      {"inputs: [{name: a, data_type: int64, shape: [2, 0]}]", "inputs[0].shape[1]", "\"0\"",
       "at least 1, or -1"},
      {"inputs: [{name: a, data_type: int64, shape: [-2]}]", "inputs[0].shape[0]", "\"-2\"",
       "at least 1, or -1"},
      {"inputs: [{name: a, data_type: int64, shape: [65536, -1, 65536]}]", "inputs[0].shape[2]",
       "\"65536\"", "2147483648 elements"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(Error(c.yaml + "\n"), AllOf(HasSubstr("model.yaml:1: " + c.path + " is " + c.value),
                                            HasSubstr(c.expected)));
  }
}

TEST(ModelConfigTest, InputsAreWholeUniqueAndFew) {
  EXPECT_THAT(Error("inputs:\n- {name: a, shape: [1]}\n"),
              HasSubstr("model.yaml:2: inputs[0].data_type is missing"));
  EXPECT_THAT(Error("inputs: [{name: a, data_type: int64}]\n"),
              HasSubstr("inputs[0].shape is missing"));
  EXPECT_THAT(Error("inputs:\n- {name: a, data_type: int64, shape: []}\n"
                    "- {name: a, data_type: int64, shape: []}\n"),
              AllOf(HasSubstr("model.yaml:3: inputs[1].name is \"a\""), HasSubstr("no other")));
  std::string yaml = "inputs:\n";
  for (int i = 0; i < 64; ++i) {
    yaml += "- {name: i" + std::to_string(i) + ", data_type: int64, shape: [1]}\n";
  }
  EXPECT_EQ(Good(yaml).inputs.size(), 64U);
  EXPECT_THAT(Error(yaml + "- {name: x, data_type: int64, shape: [1]}\n"),
              HasSubstr("inputs is a list of 65"));
}

// A model's owner must not make the daemon read files outside of the model's folder.
TEST(ModelConfigTest, FileNamesNeverLeaveTheModelsFolder) {
  for (const char* name : {"/etc/passwd", "..", "../x", "a/b", ".", "''", "\"a\\0b\"", "[a]"}) {
    EXPECT_THAT(Error(std::string("labels: ") + name + "\n"),
                AllOf(HasSubstr("labels is "), HasSubstr("beside model.yaml")))
        << name;
    EXPECT_THAT(Error(std::string("text: {vocabulary: ") + name + "}\n"),
                AllOf(HasSubstr("text.vocabulary is "), HasSubstr("beside model.yaml")))
        << name;
  }
}

TEST(ModelConfigTest, ImageAndTextExcludeEachOther) {
  EXPECT_THAT(Error("image: {}\ntext: {}\n"), HasSubstr("both image and text are set"));
}

TEST(ModelConfigTest, KeySetTwiceIsRefused) {
  EXPECT_THAT(Error("softmax: true\nsoftmax: false\n"),
              HasSubstr("model.yaml:2: softmax is set twice"));
  EXPECT_THAT(Error("image: {preset: imagenet, preset: imagenet-0.5}\n"),
              HasSubstr("image.preset is set twice"));
}

TEST(ModelConfigTest, WhatIsNotYamlIsRefusedWithItsLine) {
  EXPECT_THAT(Error("softmax: true\n]\n"), HasSubstr("model.yaml:2: "));
  EXPECT_THAT(Error("a text\n"), HasSubstr("model.yaml:1: expected lines"));
  EXPECT_THAT(Error("- softmax\n"), HasSubstr("model.yaml:1: expected lines"));
  EXPECT_THAT(Error("softmax: true\n---\nsoftmax: false\n"), HasSubstr("second document"));
  // yaml-cpp stops reading at byte 4; the rest of the file used to be dropped in silence.
  EXPECT_THAT(Error("softmax: true\n\x04\nsoftmax: 1\n"), HasSubstr("model.yaml:2: control"));
  EXPECT_THAT(Error("labels: \"a\\nb\"\n"), Not(HasSubstr("\n")));
}

TEST(ModelConfigTest, BombsEndInAnErrorSoon) {
  EXPECT_THAT(Error("a: &a [x, x]\nb: &b [*a, *a]\n"), HasSubstr("an alias"));
  EXPECT_THAT(Error("a: [[[[[[[[[[1]]]]]]]]]]\n"), HasSubstr("nested deeper"));
  EXPECT_THAT(Error(std::string((1 << 20) + 1, '#')), HasSubstr("at most 1048576"));
  for (const char* piece : {"[", "{", "- ", "? ", "a: ", "{a: ", "&a ", "!a ", "\"", "- a\n"}) {
    std::string text;
    while (text.size() < 100'000) text += piece;
    EXPECT_THAT(Error(text), HasSubstr("model.yaml")) << piece;
  }
}

// Every ```yaml example of the manual is a whole model.yaml that works.
TEST(ModelConfigTest, ExamplesOfTheManualParse) {
  std::ifstream file(std::string(TORCHD_SOURCE_DIR) + "/docs/model-config.md");
  ASSERT_TRUE(file.is_open());
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const std::string fence = "```yaml\n";
  int examples = 0;
  for (size_t at = text.find(fence); at != std::string::npos; at = text.find(fence, at + 1)) {
    const size_t begin = at + fence.size();
    Good(text.substr(begin, text.find("```", begin) - begin));
    ++examples;
  }
  EXPECT_GE(examples, 4);
}

}  // namespace
}  // namespace torchd
