// `dynamic_batching` of config.pbtxt: what becomes a knob of ours, and what is noted.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/triton_config.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TritonConfig Batching(const std::string& fields) {
  const auto parsed = ParseTritonConfig(absl::StrCat("dynamic_batching { ", fields, " }"));
  EXPECT_TRUE(parsed.ok()) << parsed.status() << "\n" << fields;
  return parsed.ok() ? *parsed : TritonConfig{};
}

TritonConfig Policy(const std::string& fields) {
  return Batching(absl::StrCat("default_queue_policy { ", fields, " }"));
}

std::string Error(const std::string& fields) {
  const auto parsed = ParseTritonConfig(absl::StrCat("dynamic_batching { ", fields, " }"));
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << fields;
  return std::string(parsed.status().message());
}

TEST(TritonBatchingTest, QueueDelayBecomesOurs) {
  EXPECT_EQ(Batching("").model.queue.delay_us_max, 0);
  const TritonConfig config = Batching("max_queue_delay_microseconds: 10000000");
  EXPECT_EQ(config.model.queue.delay_us_max, 10'000'000);
  EXPECT_THAT(config.not_honoured, IsEmpty());
}

TEST(TritonBatchingTest, LongerDelayIsCutAndNoted) {
  const TritonConfig config = Batching("max_queue_delay_microseconds: 10000001");
  EXPECT_EQ(config.model.queue.delay_us_max, 10'000'000);
  EXPECT_THAT(config.not_honoured,
              ElementsAre("dynamic_batching.max_queue_delay_microseconds (line 1): 10000001; "
                          "microseconds of waiting for company are at most 10000000"));
}

TEST(TritonBatchingTest, QueueSizeBecomesRowsWaiting) {
  EXPECT_EQ(Policy("").model.queue.rows_waiting_max, 0);
  // Triton's 0 sets no limit; torchd's queues have one, the server's.
  EXPECT_EQ(Policy("max_queue_size: 0").model.queue.rows_waiting_max, 0);
  EXPECT_EQ(Policy("max_queue_size: 64").model.queue.rows_waiting_max, 64);
  const TritonConfig huge = Policy("max_queue_size: 4294967295");
  EXPECT_EQ(huge.model.queue.rows_waiting_max, 1'000'000);
  EXPECT_THAT(huge.not_honoured,
              ElementsAre("dynamic_batching.default_queue_policy.max_queue_size (line 1): "
                          "4294967295; rows that wait are at most 1000000"));
}

TEST(TritonBatchingTest, DefaultTimeoutIsRoundedUp) {
  const struct {
    const char* microseconds;
    int milliseconds;
  } cases[] = {{"0", 0}, {"1", 1}, {"1000", 1}, {"1001", 2}, {"3600000000", 3'600'000}};
  for (const auto& test : cases) {
    const TritonConfig config =
        Policy(absl::StrCat("default_timeout_microseconds: ", test.microseconds));
    EXPECT_EQ(config.model.timeout_ms, test.milliseconds) << test.microseconds;
    EXPECT_THAT(config.not_honoured, IsEmpty());
  }
  const TritonConfig huge = Policy("default_timeout_microseconds: 9223372036854775807");
  EXPECT_EQ(huge.model.timeout_ms, 3'600'000);
  EXPECT_THAT(huge.not_honoured, ElementsAre(HasSubstr("a request has at most 3600000 ms")));
}

TEST(TritonBatchingTest, RejectIsWhatIsDone) {
  const TritonConfig config = Policy(
      "default_timeout_microseconds: 5000 timeout_action: REJECT allow_timeout_override: true");
  EXPECT_EQ(config.model.timeout_ms, 5);
  EXPECT_THAT(config.not_honoured, IsEmpty());
}

// Triton would still run what is late. A timeout that refuses it would be another promise.
TEST(TritonBatchingTest, DelayIsNotedAndItsTimeoutNotApplied) {
  for (const char* fields : {"timeout_action: DELAY default_timeout_microseconds: 5000",
                             "default_timeout_microseconds: 5000 timeout_action: DELAY"}) {
    const TritonConfig config = Policy(fields);
    EXPECT_EQ(config.model.timeout_ms, 0);
    EXPECT_THAT(config.not_honoured,
                ElementsAre("dynamic_batching.default_queue_policy.timeout_action (line 1): DELAY; "
                            "what is late is refused, so no default timeout is applied"));
  }
}

TEST(TritonBatchingTest, WhatIsNotDoneIsNotedWithItsReason) {
  const TritonConfig config = Batching(
      "preferred_batch_size: [4, 8] preserve_ordering: true priority_levels: 2\n"
      "default_priority_level: 1 priority_queue_policy { key: 1 value { max_queue_size: 4 } }\n"
      "default_queue_policy { foo: 1 }");
  EXPECT_THAT(
      config.not_honoured,
      ElementsAre(
          "dynamic_batching.preferred_batch_size (line 1): how many rows run together follows from "
          "what runs were measured to take",
          "dynamic_batching.preserve_ordering (line 1): an answer leaves when it is ready",
          "dynamic_batching.priority_levels (line 1): every model has three priorities, which "
          "callers choose: high, normal, low",
          "dynamic_batching.default_priority_level (line 2): a request that says none is normal",
          "dynamic_batching.priority_queue_policy (line 2): all priorities share one queue; see "
          "default_queue_policy",
          StartsWith("dynamic_batching.default_queue_policy.foo (line 3): not a field")));
  EXPECT_EQ(config.model.queue.rows_waiting_max, 0);
}

TEST(TritonBatchingTest, MistakesAreNamedWithPathValueAndRange) {
  struct Case {
    std::string fields, expected;
  };
  const std::vector<Case> cases = {
      {"max_queue_delay_microseconds: -1",
       "dynamic_batching.max_queue_delay_microseconds is -1, expected a whole number in 0.."},
      {"max_queue_delay_microseconds: 'x'", "max_queue_delay_microseconds is \"x\", expected"},
      {"default_queue_policy: 1", "default_queue_policy is 1, expected a message"},
      {"default_queue_policy { max_queue_size: 4294967296 }",
       "max_queue_size is 4294967296, expected a whole number in 0..4294967295"},
      {"default_queue_policy { default_timeout_microseconds: 1.5 }",
       "default_timeout_microseconds is 1.5, expected a whole number in 0.."},
      {"default_queue_policy { timeout_action: DROP }",
       "timeout_action is DROP, expected one of REJECT, DELAY"},
      {"default_queue_policy { allow_timeout_override: 2 }",
       "allow_timeout_override is 2, expected true or false"},
      {"default_queue_policy { } default_queue_policy { }", "is given twice"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(Error(c.fields), AllOf(StartsWith("config.pbtxt:1: "), HasSubstr(c.expected)));
  }
}

}  // namespace
}  // namespace torchd
