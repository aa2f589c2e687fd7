#include "server/base/log.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;
using ::testing::internal::CaptureStderr;
using ::testing::internal::GetCapturedStderr;

constexpr char kTime[] = "2026-11-21T12:00:00.123456Z";

std::string Text(absl::string_view message, LogFields fields = {}) {
  return FormatLogLine(LogFormat::kText, kTime, Severity::kInfo, message, fields);
}

std::string Json(absl::string_view message, LogFields fields = {}) {
  return FormatLogLine(LogFormat::kJson, kTime, Severity::kInfo, message, fields);
}

TEST(LogTest, TextLineIsTimeSeverityMessageAndFields) {
  EXPECT_EQ(Text("model ready", {{"model", "cat"}, {"version", "1"}}),
            "2026-11-21T12:00:00.123456Z INFO    model ready model=cat version=1\n");
}

TEST(LogTest, EverySeverityHasItsName) {
  const auto line = [](Severity severity) {
    return FormatLogLine(LogFormat::kText, "T", severity, "m", {});
  };
  EXPECT_EQ(line(Severity::kDebug), "T DEBUG   m\n");
  EXPECT_EQ(line(Severity::kInfo), "T INFO    m\n");
  EXPECT_EQ(line(Severity::kWarning), "T WARNING m\n");
  EXPECT_EQ(line(Severity::kError), "T ERROR   m\n");
}

TEST(LogTest, JsonLineIsAnObject) {
  const auto json = nlohmann::json::parse(Json("model ready", {{"model", "cat"}}));
  EXPECT_EQ(
      json,
      nlohmann::json(
          {{"time", kTime}, {"severity", "INFO"}, {"message", "model ready"}, {"model", "cat"}}));
}

TEST(LogTest, TextValuesAreQuotedWhereAReaderWouldSplitThemWrongly) {
  EXPECT_THAT(Text("m", {{"a", ""}}), HasSubstr(" a=\"\"\n"));
  EXPECT_THAT(Text("m", {{"a", "b c"}}), HasSubstr(" a=\"b c\"\n"));
  EXPECT_THAT(Text("m", {{"a", "b=c"}}), HasSubstr(" a=\"b=c\"\n"));
  EXPECT_THAT(Text("m", {{"a", "\"\\"}}), HasSubstr(" a=\"\\\"\\\\\"\n"));
  EXPECT_THAT(Text("m", {{"a", "\t\x7f"}}), HasSubstr(" a=\"\\u0009\\u007f\"\n"));
}

TEST(LogTest, ClientCannotForgeALineOfText) {
  const std::string evil = "x\n2026-11-21T12:00:00Z ERROR forged\r";
  const std::string line = Text(evil, {{"model", evil}});
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  EXPECT_EQ(std::count(line.begin(), line.end(), '\r'), 0);
  EXPECT_EQ(line.back(), '\n');
}

TEST(LogTest, JsonGivesEveryAsciiByteBack) {
  std::string all;
  for (char c = 0; c < 0x7f; ++c) all += c;
  all += '\x7f';
  const std::string line = Json(all, {{"field", all}});
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["message"], all);
  EXPECT_EQ(json["field"], all);
}

// A client may send any bytes; a reader of JSON refuses the whole line over one that is no UTF-8.
TEST(LogTest, JsonIsValidWhateverTheBytes) {
  const std::string fine = "\u00e9\u20ac\U0001f408";
  for (const std::string bad :
       {"\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"}) {
    const std::string got =
        nlohmann::json::parse(Json("m", {{"field", fine + bad + "x" + fine}}))["field"];
    EXPECT_THAT(got, ::testing::StartsWith(fine + "\ufffd"));
    EXPECT_THAT(got, ::testing::EndsWith("x" + fine));
  }
}

TEST(LogTest, OnlyTheConfiguredSeverityAndAboveIsWritten) {
  ConfigureLog(Severity::kWarning, LogFormat::kText);
  CaptureStderr();
  Log(Severity::kInfo, "quiet");
  Log(Severity::kWarning, "loud");
  const std::string written = GetCapturedStderr();
  ConfigureLog(Severity::kInfo, LogFormat::kText);
  EXPECT_THAT(written, ::testing::Not(HasSubstr("quiet")));
  EXPECT_THAT(written, ::testing::ContainsRegex(
                           "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{6}Z WARNING loud\n$"));
}

TEST(LogDeathTest, BrokenInvariantEndsTheProcessAndNamesIt) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(TORCHD_CHECK(1 + 1 == 3), "invariant broken condition=\"1 \\+ 1 == 3\"");
}

}  // namespace
}  // namespace torchd
