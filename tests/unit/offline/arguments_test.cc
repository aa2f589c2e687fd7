#include "server/offline/arguments.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Words = std::vector<std::string>;

std::string Refusal(Words words) {
  words.insert(words.begin(), {"--model-file", "a.pt"});
  const absl::Status status = ParseOfflineArguments(words).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(OfflineArgumentsTest, HasDefaults) {
  const auto got = ParseOfflineArguments({"--model-file", "a.pt"});
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->model_file, "a.pt");
  EXPECT_EQ(got->plan, std::nullopt);
  EXPECT_EQ(got->batch, 1);
  EXPECT_EQ(got->warm_up, 10);
  EXPECT_EQ(got->repeats, 100);
  EXPECT_EQ(got->threads, 0);
}

TEST(OfflineArgumentsTest, TakesBothSpellings) {
  const auto got = ParseOfflineArguments({"--model-file=a.pt", "--input", "x.bin", "--input=y.npy",
                                          "--labels", "l.txt", "--plan", "onednn", "--batch=1024",
                                          "--warmup", "0", "--repeats=3", "--threads", "2"});
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(got->inputs, ElementsAre("x.bin", "y.npy"));
  EXPECT_EQ(got->labels_file, "l.txt");
  EXPECT_EQ(got->plan, Plan::kOneDnn);
  EXPECT_EQ(got->batch, 1024);
  EXPECT_EQ(got->warm_up, 0);
  EXPECT_EQ(got->repeats, 3);
  EXPECT_EQ(got->threads, 2);
}

TEST(OfflineArgumentsTest, ALengthIsForRowsThatNoFileBrings) {
  EXPECT_EQ(ParseOfflineArguments({"--model-file", "a.pt", "--length", "7"})->length, 7);
  EXPECT_THAT(Refusal({"--length=7", "--input", "x.bin"}),
              HasSubstr("got both --length 7 and --input"));
}

TEST(OfflineArgumentsTest, MistakesNameTheFlagTheValueAndTheRange) {
  const struct {
    Words words;
    const char* message;
  } cases[] = {{{"--repeats", "0"}, "--repeats is '0', expected a whole number in 1..1000000"},
               {{"--repeats", "x"}, "--repeats is 'x'"},
               {{"--batch", "1025"}, "--batch is '1025', expected a whole number in 1..1024"},
               {{"--warmup", "-1"}, "--warmup is '-1', expected a whole number in 0..10000"},
               {{"--threads", "257"}, "--threads is '257', expected a whole number in 1..256"},
               {{"--length", "0"}, "--length is '0'"},
               {{"--plan", "fast"}, "--plan is 'fast', expected saved, frozen, "},
               {{"--colour", "x"}, "bench has no flag '--colour'"},
               {{"--repeats"}, "--repeats needs a value"},
               {{"cat.jpg"}, "'cat.jpg' is not a flag"}};
  for (const auto& test : cases) EXPECT_THAT(Refusal(test.words), HasSubstr(test.message));
  EXPECT_THAT(std::string(ParseOfflineArguments({}).status().message()),
              HasSubstr("needs --model-file"));
}

TEST(OfflineArgumentsTest, HelpNeedsNothingElse) {
  EXPECT_TRUE(ParseOfflineArguments({"--help"})->help);
  EXPECT_THAT(OfflineHelpText(), HasSubstr("--model-file"));
}

}  // namespace
}  // namespace torchd
