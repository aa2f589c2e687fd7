#include "server/trial/verdict.h"

#include <signal.h>

#include <cerrno>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/trial/plain_text.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;

std::string Answer(int64_t code, const std::string& bytes, uint64_t size,
                   AnswerHeader header = {}) {
  header.code = code;
  header.bytes = size;
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + bytes;
}
std::string Answer(int64_t code, const std::string& bytes) {
  return Answer(code, bytes, bytes.size());
}

TrialReport Ended(int wait_status) {
  return {.kind = TrialReport::Kind::kEnded, .wait_status = wait_status};
}
TrialReport Exited(int code) { return Ended(code << 8); }

absl::Status Judge(const TrialReport& report, const std::string& answer) {
  return JudgeTrial(report, answer, {.time_max = std::chrono::milliseconds(60'000)}).status();
}

TEST(VerdictTest, AnswerOfAProcessThatEndedWellCounts) {
  TrialReport report = Exited(0);
  report.resident_peak_bytes = 100;
  report.took_nanoseconds = 1500;
  const auto answer =
      JudgeTrial(report, Answer(0, "payload", 7, {.memory_bytes = 7, .memory_peak_bytes = 9}), {});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->payload, "payload");
  EXPECT_EQ(answer->memory_bytes, 7);
  EXPECT_EQ(answer->memory_peak_bytes, 9);
  EXPECT_EQ(answer->took, std::chrono::nanoseconds(1500));
}

// The kernel saw how much it was at most.
TEST(VerdictTest, MemoryThatCannotBeTrueIsCut) {
  TrialReport report = Exited(0);
  report.resident_peak_bytes = 100;
  const auto answer =
      JudgeTrial(report, Answer(0, "", 0, {.memory_bytes = 500, .memory_peak_bytes = 900}), {});
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->memory_bytes, 100);
  EXPECT_EQ(answer->memory_peak_bytes, 100);
  const auto negative =
      JudgeTrial(report, Answer(0, "", 0, {.memory_bytes = -5, .memory_peak_bytes = -9}), {});
  EXPECT_EQ(negative->memory_bytes, 0);
  EXPECT_EQ(negative->memory_peak_bytes, 0);
}

TEST(VerdictTest, EmptyPayloadIsAnAnswer) { EXPECT_TRUE(Judge(Exited(0), Answer(0, "")).ok()); }

TEST(VerdictTest, ErrorOfTheTrialIsHandedOn) {
  EXPECT_EQ(Judge(Exited(0), Answer(5, "no model file")), absl::NotFoundError("no model file"));
}

TEST(VerdictTest, ErrorTextIsMadeFitForClientsAndShort) {
  EXPECT_EQ(Judge(Exited(0), Answer(13, "a\nb\xff")), absl::InternalError("a b?"));
  EXPECT_EQ(Judge(Exited(0), Answer(13, std::string(100'000, 'x'))).message().size(), 16 << 10);
}

TEST(VerdictTest, UnknownErrorCodesAreInternal) {
  for (const int64_t code : {int64_t{-1}, int64_t{17}, int64_t{1} << 32}) {
    EXPECT_EQ(Judge(Exited(0), Answer(code, "x")),
              absl::InternalError(absl::StrCat("the trial reported an unknown error code ", code)));
  }
}

TEST(VerdictTest, AnswerOfAProcessThatDiedDoesNotCount) {
  EXPECT_EQ(Judge(Exited(3), Answer(0, "x")),
            absl::InternalError("the trial process exited with code 3"));
  const absl::Status crashed = Judge(Ended(SIGSEGV), Answer(0, "x"));
  EXPECT_EQ(crashed.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(crashed.message()),
              HasSubstr("the trial process was killed by SIGSEGV (Segmentation fault)"));
}

TEST(VerdictTest, SignalsThatLimitsCauseSaySo) {
  EXPECT_THAT(std::string(Judge(Ended(SIGKILL), "").message()), HasSubstr("memory runs out"));
  EXPECT_THAT(std::string(Judge(Ended(SIGXFSZ), "").message()), HasSubstr("files of 0 bytes"));
  EXPECT_THAT(std::string(Judge(Ended(SIGABRT), "").message()), HasSubstr("4294967296 bytes"));
  EXPECT_EQ(Judge(Ended(SIGTERM), "").message(),
            "the trial process was killed by SIGTERM (Terminated)");
  EXPECT_EQ(Judge(Ended(SIGRTMIN), "").message(),
            absl::StrCat("the trial process was killed by signal ", SIGRTMIN));
}

TEST(VerdictTest, LatenessExplainsTheKill) {
  TrialReport report = Ended(SIGKILL);
  report.late = true;
  EXPECT_EQ(Judge(report, ""), absl::DeadlineExceededError("the trial took longer than 60000 ms"));
}

TEST(VerdictTest, AnswerMustBeThereAndWhole) {
  EXPECT_EQ(Judge(Exited(0), "").message(), "the trial process ended without an answer");
  EXPECT_EQ(Judge(Exited(0), "short").message(), "the trial's answer is cut in its header");
  EXPECT_EQ(Judge(Exited(0), std::string(100, 'g')).message(),
            "the trial wrote something that is no answer");
  EXPECT_EQ(Judge(Exited(0), Answer(0, "abc", 9)).message(),
            "the trial's answer is cut: 3 of 9 bytes");
  EXPECT_EQ(Judge(Exited(0), Answer(0, "abc", 2)).message(),
            "the trial wrote more than its answer");
  EXPECT_EQ(Judge(Exited(0), Answer(0, "abc", ~uint64_t{0})).code(), absl::StatusCode::kInternal);
}

TEST(VerdictTest, WhatCannotStartSaysWhetherToTryAgain) {
  const auto not_started = [](int error_number) {
    return Judge({.kind = TrialReport::Kind::kNotStarted, .error_number = error_number}, "").code();
  };
  EXPECT_EQ(not_started(EAGAIN), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(not_started(ENOMEM), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(not_started(ENOSYS), absl::StatusCode::kInternal);
}

TEST(PlainTextTest, LeavesTextAloneAndMarksWhatIsNone) {
  for (const char* good :
       {"", "plain", "größe", "\xe2\x82\xac", "\xf0\x9f\x90\x88", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(PlainText(good), good);
  }
  EXPECT_EQ(PlainText(absl::string_view("a\tb\0c\x7f", 6)), "a b c ");
  EXPECT_EQ(PlainText("\xc0\xaf"), "??");              // Overlong.
  EXPECT_EQ(PlainText("\xe0\x80\x80"), "???");         // Overlong.
  EXPECT_EQ(PlainText("\xf0\x80\x80\x80"), "????");    // Overlong.
  EXPECT_EQ(PlainText("\xed\xa0\x80"), "???");         // A surrogate.
  EXPECT_EQ(PlainText("\xf4\x90\x80\x80x"), "????x");  // Beyond Unicode.
  EXPECT_EQ(PlainText("\xe2\x82"), "??");              // Cut.
}

}  // namespace
}  // namespace torchd
