#include "bench/load_arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace torchd::bench {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const std::vector<std::string> kOpen = {"--target=h:1", "--model=m", "--phases=10x1"};

LoadArguments Parsed(const std::vector<std::string>& words) {
  const auto arguments = ParseLoadArguments(words);
  EXPECT_TRUE(arguments.ok()) << arguments.status();
  return arguments.ok() ? *arguments : LoadArguments();
}

std::string Refusal(std::vector<std::string> words, const std::vector<std::string>& more = {}) {
  words.insert(words.end(), more.begin(), more.end());
  const absl::Status status = ParseLoadArguments(words).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(LoadArgumentsTest, OpenLoopHasDefaults) {
  const LoadArguments arguments = Parsed(kOpen);
  EXPECT_EQ(arguments.target, "h:1");
  ASSERT_EQ(arguments.models.size(), 1);
  EXPECT_EQ(arguments.models[0].weight, 1);
  EXPECT_EQ(arguments.phases.size(), 1);
  EXPECT_EQ(arguments.deadline.count(), 0);
  EXPECT_EQ(arguments.clients, 1);
  EXPECT_EQ(arguments.in_flight_max, 20'000);
  EXPECT_EQ(arguments.json, "");
}

TEST(LoadArgumentsTest, ClosedLoopOfAMixWithAnEcho) {
  const LoadArguments arguments = Parsed(
      {"--target",      "h:1", "--model",   "a:2.5",  "--model",       "b",   "--echo",    "h:2",
       "--concurrency", "16",  "--seconds", "2.5",    "--deadline-ms", "200", "--clients", "4",
       "--greedy",      "10",  "--fill",    "random", "--length",      "7",   "--seed",    "3",
       "--json",        "-"});
  ASSERT_EQ(arguments.models.size(), 2);
  EXPECT_EQ(arguments.models[0].name, "a");
  EXPECT_EQ(arguments.models[0].weight, 2.5);
  EXPECT_EQ(arguments.echo, "h:2");
  EXPECT_EQ(arguments.concurrency, 16);
  EXPECT_EQ(arguments.seconds, 2.5);
  EXPECT_EQ(arguments.deadline.count(), 200);
  EXPECT_EQ(arguments.greedy, 10);
  EXPECT_TRUE(arguments.random_fill);
  EXPECT_EQ(arguments.length, 7);
  EXPECT_EQ(arguments.seed, 3);
}

TEST(LoadArgumentsTest, AnEchoAloneNeedsItsSize) {
  EXPECT_EQ(Parsed({"--echo=h:2", "--bytes=0", "--phases=1x1"}).echo_bytes, 0);
  EXPECT_THAT(Refusal({"--echo=h:2", "--phases=1x1"}), HasSubstr("--bytes"));
  EXPECT_THAT(Refusal(kOpen, {"--echo=h:2", "--bytes=5"}), HasSubstr("--bytes"));
}

TEST(LoadArgumentsTest, AWrongValueIsNamedWithItsFlag) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"--target", "h"},        {"--target", ":1"},       {"--echo", "h:65536"},
      {"--model", ":1"},        {"--model", "m:0"},       {"--model", "m:x"},
      {"--concurrency", "0"},   {"--seconds", "nan"},     {"--deadline-ms", "-1"},
      {"--deadline-ms", "1.5"}, {"--clients", "1001"},    {"--greedy", "0"},
      {"--in-flight-max", "0"}, {"--seed", "-1"},         {"--fill", "zeros"},
      {"--length", "0"},        {"--bytes", "1000000000"}};
  for (const auto& one : wrong) {
    EXPECT_THAT(Refusal(kOpen, {one.first, one.second}),
                AllOf(HasSubstr(one.first + " is '" + one.second + "'"), HasSubstr("expected")));
  }
  EXPECT_THAT(Refusal(kOpen, {"--phases=5"}), HasSubstr("--phases: phase 1 is '5'"));
}

TEST(LoadArgumentsTest, WhatDoesNotGoTogetherIsRefused) {
  EXPECT_THAT(Refusal({}), HasSubstr("--target"));
  EXPECT_THAT(Refusal({"--target=h:1", "--phases=1x1"}), HasSubstr("--model"));
  EXPECT_THAT(Refusal({"--model=m", "--phases=1x1"}), HasSubstr("--target"));
  EXPECT_THAT(Refusal({"--target=h:1", "--model=m"}), HasSubstr("--phases"));
  EXPECT_THAT(Refusal(kOpen, {"--concurrency=1", "--seconds=1"}), HasSubstr("either"));
  EXPECT_THAT(Refusal(kOpen, {"--seconds=1"}), HasSubstr("--concurrency"));
  EXPECT_THAT(Refusal(kOpen, {"--greedy=2"}), HasSubstr("--clients"));
  EXPECT_THAT(Refusal(kOpen, {"--model=m:2"}), HasSubstr("twice"));
  EXPECT_THAT(Refusal(kOpen, {"--rate=2"}), HasSubstr("'--rate=2'"));
  EXPECT_THAT(Refusal(kOpen, {"--json"}), HasSubstr("needs a value"));
}

TEST(LoadArgumentsTest, HelpNeedsNothingElse) { EXPECT_TRUE(Parsed({"--help", "--x"}).help); }

}  // namespace
}  // namespace torchd::bench
