// What ParseTritonConfig() refuses, and with which words.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/triton_config.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

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

TEST(TritonConfigMistakesTest, MistakesAreNamedWithLinePathValueAndWhatWasExpected) {
  struct Case {
    std::string text, expected;
  };
  const std::string x = "input { name: 'x' data_type: TYPE_FP32 dims: -1 } ";
  const std::vector<Case> cases = {
      {"name: x", "1: name is x, expected a string in quotes"},
      {"name: 5", "1: name is 5, expected a string in quotes"},
      {"name: '" + std::string(256, 'n') + "'", "expected a string in quotes of at most 255"},
      {"name: 'a'\nname: 'b'", "2: name is given twice, expected at most once"},
      {"name: ['a', 'b']", "1: name is given twice"},
      {"runtime: 'a' runtime: 'b'", "1: runtime is given twice"},
      {"optimization { } optimization { }", "optimization is given twice"},
      {"backend: pytorch", "backend is pytorch, expected a string in quotes"},
      {"max_batch_size: -1", "max_batch_size is -1, expected a whole number in 0..2147483647"},
      {"max_batch_size: 1.5", "max_batch_size is 1.5, expected a whole number"},
      {"max_batch_size: 2147483648", "max_batch_size is 2147483648, expected"},
      {"max_batch_size: '8'", "max_batch_size is \"8\", expected a whole number"},
      {"max_batch_size { }", "max_batch_size is a message, expected a whole number"},
      {"input: 'x'", "input[0] is \"x\", expected a message { ... }"},
      {"\ninput { data_type: TYPE_FP32 dims: 1 }", "2: input[0].name is missing"},
      {"input { name: 'x' dims: 1 }", "input[0].data_type is missing"},
      {"input { name: 'x' data_type: TYPE_FP32 dims: [] }", "input[0].dims is missing"},
      {x + "\n input { name: 'x' data_type: TYPE_FP32 dims: 1 }",
       "2: input[1].name is \"x\", expected a name that input[0] has not"},
      {"input { data_type: TYPE_FP16 }",
       "input[0].data_type is TYPE_FP16, expected one of TYPE_UINT8, TYPE_INT32, TYPE_INT64, "
       "TYPE_FP32"},
      {"input { data_type: TYPE_STRING }", "input[0].data_type is TYPE_STRING, expected one of"},
      {"input { data_type: 'TYPE_FP32' }", "input[0].data_type is \"TYPE_FP32\", expected one of"},
      {"input { format: NCHW }",
       "input[0].format is NCHW, expected one of FORMAT_NONE, FORMAT_NHWC, FORMAT_NCHW"},
      {"input { dims: 0 }", "input[0].dims[0] is 0, expected a whole number of at least 1, or -1"},
      {"input { dims: [ 1, -2 ] }", "input[0].dims[1] is -2, expected a whole number"},
      {"input { dims: 'x' }", "input[0].dims[0] is \"x\", expected a whole number"},
      {"input { dims: [1,1,1,1,1,1,1,1,1,1] }", "input[0].dims[9] is 1, expected at most 9 dims"},
      {"max_batch_size: 1 input { name: 'x' data_type: TYPE_FP32 dims: [1,1,1,1,1,1,1,1,1] }",
       "input[0].dims[8] is 1, expected at most 8 without the batch dimension"},
      {"input { name: 'x' data_type: TYPE_FP32 dims: [-1, 65536, -1, 65536] }",
       "input[0].dims[3] is 65536, expected dims of at most 2147483648 elements"},
      {"input { reshape: 1 }", "input[0].reshape is 1, expected a message"},
      {"input { reshape { shape: 0 } }", "input[0].reshape.shape[0] is 0, expected a whole"},
      {"max_batch_size: 1 input { name: 'a__1' data_type: TYPE_FP32 dims: 1 }",
       "input[0].name is \"a__1\", expected each index of 0..0 at most once"},
      {"output { name: 'a__1' data_type: TYPE_FP32 dims: 1 }\n"
       "output { name: 'b__1' data_type: TYPE_FP32 dims: 1 }",
       "2: output[1].name is \"b__1\", expected each index of 0..63 at most once"},
      {"output { name: 'a__64' data_type: TYPE_FP32 dims: 1 }", "expected each index of 0..63"},
      {"output { data_type: TYPE_FLOAT }", "output[0].data_type is TYPE_FLOAT, expected one of"},
      {"output { label_filename: '../labels.txt' }",
       "output[0].label_filename is \"../labels.txt\", expected the name of a file"},
      {"output { label_filename: 7 }", "output[0].label_filename is 7, expected a string"},
      {"default_model_filename: '/etc/passwd'",
       "default_model_filename is \"/etc/passwd\", expect"},
      {"default_model_filename: 'a/b'", "expected the name of a file, without a folder"},
      {"default_model_filename: '..'", "expected the name of a file, without a folder"},
      {"default_model_filename: 'a\\0b'", "expected the name of a file, without a folder"},
      {"version_policy: 1", "version_policy is 1, expected a message"},
      {"version_policy { latest { } }", "version_policy.latest.num_versions is missing"},
      {"version_policy { latest { num_versions: 0 } }",
       "version_policy.latest.num_versions is 0, expected a whole number in 1..2147483647"},
      {"version_policy { specific { } }", "version_policy.specific.versions is missing"},
      {"version_policy { specific { versions: [ 1, 0 ] } }",
       "version_policy.specific.versions[1] is 0, expected a whole number in "
       "1..9223372036854775807"},
      {"version_policy { all { } latest { num_versions: 1 } }",
       "version_policy has both all and latest, expected one of latest, all, specific"},
      {"parameters { key: 1 }", "parameters[0].key is 1, expected a string"},
      {"parameters { value { string_value: 1 } }",
       "parameters[0].value.string_value is 1, expected a string in quotes"},
      {"model_transaction_policy { decoupled: true }",
       "model_transaction_policy.decoupled is true, expected false: a request has one answer"},
      {"model_transaction_policy { decoupled: yes }", "decoupled is yes, expected true or false"},
      {"\nsequence_batching { }",
       "2: sequence_batching is a message, expected none: torchd keeps no state"},
      {"ensemble_scheduling { step [ ] }",
       "ensemble_scheduling is a message, expected none: torchd serves models"},
      {"name: 'a'\nname", "2: found the end, expected : or { after \"name\""},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(Error(c.text), AllOf(StartsWith("config.pbtxt:"), HasSubstr(c.expected))) << c.text;
  }
}

TEST(TritonConfigMistakesTest, ListsHaveLimits) {
  std::string inputs = "max_batch_size: 1 ";
  for (int i = 0; i < 64; ++i) {
    absl::StrAppend(&inputs, "input { name: 'i", i, "' data_type: TYPE_FP32 dims: 1 }\n");
  }
  EXPECT_THAT(Good(inputs).model.inputs, SizeIs(64));
  EXPECT_THAT(Error(inputs + "input { }"),
              HasSubstr("config.pbtxt:65: input[64] is one more than the 64 allowed"));
  std::string versions = "1";
  for (int i = 2; i <= 1000; ++i) absl::StrAppend(&versions, ",", i);
  const auto policy = [&](const std::string& more) {
    return "version_policy { specific { versions: [" + versions + more + "] } }";
  };
  EXPECT_THAT(Good(policy("")).model.version_policy->specific, SizeIs(1000));
  EXPECT_THAT(Good(policy(",1")).model.version_policy->specific, SizeIs(1000));
  EXPECT_THAT(Error(policy(",1001")), HasSubstr("expected at most 1000 versions"));
}

}  // namespace
}  // namespace torchd
