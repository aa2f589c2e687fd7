#include "client/bench_flags.h"

#include <string>
#include <vector>

#include "client/help.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Arguments Parsed(const std::vector<std::string>& words) {
  const absl::StatusOr<Arguments> arguments = ParseArguments(words, "");
  EXPECT_TRUE(arguments.ok()) << arguments.status();
  return arguments.ok() ? *arguments : Arguments();
}

std::string Refusal(const std::vector<std::string>& words) {
  const absl::Status status = ParseArguments(words, "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

// The server knows the defaults.
TEST(BenchFlagsTest, WhatIsNotSaidIsNotSent) {
  const Arguments arguments = Parsed({"bench"});
  EXPECT_EQ(arguments.command, Command::kBench);
  EXPECT_EQ(arguments.benchmark.ByteSizeLong(), 0u);
  EXPECT_EQ(arguments.timeout, std::chrono::hours(24));
  EXPECT_EQ(Parsed({"--timeout", "9", "bench"}).timeout, std::chrono::seconds(9));
}

TEST(BenchFlagsTest, AllIsTakenAsItIsWritten) {
  const Arguments arguments = Parsed(
      {"bench",     "cat",   "--batch",       "4",       "--length=32", "--warmup", "0",
       "--repeats", "7",     "--concurrency", "2",       "--plan",      "onednn",   "--version",
       "3",         "--csv", "--shape",       "3,32,48", "--shape",     "mask=7"});
  EXPECT_EQ(arguments.model, "cat");
  EXPECT_EQ(arguments.model_version, 3);
  EXPECT_TRUE(arguments.csv);
  const v1::BenchmarkRequest& request = arguments.benchmark;
  EXPECT_EQ(request.batch_size(), 4);
  EXPECT_EQ(request.length(), 32);
  EXPECT_TRUE(request.has_warm_up());
  EXPECT_EQ(request.repeats(), 7);
  EXPECT_EQ(request.concurrency(), 2);
  EXPECT_EQ(request.plan(), "onednn");
  EXPECT_EQ(request.shapes(0).name(), "");
  EXPECT_THAT(request.shapes(0).shape(), ElementsAre(3, 32, 48));
  EXPECT_EQ(request.shapes(1).name(), "mask");
  EXPECT_EQ(Parsed({"bench", "--duration", "0.25"}).benchmark.duration_ms(), 250);
}

// Zero repeats are written well; the server says why they cannot be.
TEST(BenchFlagsTest, RangesAreTheServersBusiness) {
  EXPECT_TRUE(Parsed({"bench", "--repeats", "0"}).benchmark.has_repeats());
}

TEST(BenchFlagsTest, WhatIsNoNumberIsRefusedByName) {
  for (const char* flag : {"--batch", "--length", "--warmup", "--repeats", "--concurrency"}) {
    EXPECT_THAT(Refusal({"bench", flag, "many"}),
                HasSubstr(std::string(flag) + " is 'many'; expected a whole number"));
  }
  EXPECT_THAT(Refusal({"bench", "--batch", "99999999999"}), HasSubstr("--batch is '99999999999'"));
  EXPECT_THAT(Refusal({"bench", "--shape", "3,,4"}), HasSubstr("--shape is '3,,4'"));
  EXPECT_THAT(Refusal({"bench", "--shape", "x="}), HasSubstr("--shape"));
  EXPECT_THAT(Refusal({"bench", "--plan="}), HasSubstr("--plan"));
  for (const char* odd : {"0", "nan", "601", "-1", "x"}) {
    EXPECT_THAT(Refusal({"bench", "--duration", odd}), HasSubstr("seconds, 0.001 to 600"));
  }
}

TEST(BenchFlagsTest, OneOfTwo) {
  EXPECT_THAT(Refusal({"bench", "--repeats", "1", "--duration", "1"}), HasSubstr("one of them"));
  EXPECT_THAT(Refusal({"bench", "--duration", "1", "--repeats", "1"}), HasSubstr("one of them"));
  EXPECT_THAT(Refusal({"bench", "--json", "--csv"}), HasSubstr("one of them"));
  EXPECT_THAT(Refusal({"models", "--csv"}), HasSubstr("unknown flag --csv"));
}

TEST(BenchFlagsTest, TheHelpNamesThemAll) {
  for (const char* flag :
       {"--batch", "--length", "--shape", "--warmup", "--repeats", "--duration", "--concurrency",
        "--plan", "--version", "--version-label", "--json", "--csv", "--address", "--timeout"}) {
    EXPECT_THAT(HelpText(Command::kBench), HasSubstr(flag));
  }
  EXPECT_THAT(HelpText(Command::kNone), HasSubstr("bench [NAME]"));
}

}  // namespace
}  // namespace torchd
