#include "bench/load_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace torchd::bench {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

constexpr int kOk = 0;
constexpr int kDeadlineExceeded = 4;
constexpr int kNotFound = 5;
constexpr int kResourceExhausted = 8;
constexpr int kUnavailable = 14;

// Two phases of a second, two clients, two models, a deadline of 200 ms.
LoadRecord Record() {
  LoadRecord record;
  record.phases = {{10, 1}, {5, 1}};
  record.models = {"a", "b"};
  record.request_bytes = {40, 602'151};
  record.clients = 2;
  record.deadline = milliseconds(200);
  record.wall = milliseconds(2000);
  record.processor_time = milliseconds(1);
  return record;
}

struct Place {
  int phase = 0;
  int model = 0;
  int client = 0;
};

void Add(LoadRecord& record, int at_ms, int took_ms, int code, Place place = {}, int late_ms = 0) {
  const milliseconds at(at_ms);
  record.samples.push_back({{at, place.phase, place.model, place.client},
                            at + milliseconds(late_ms),
                            at + milliseconds(took_ms),
                            static_cast<uint8_t>(code)});
}

TEST(LoadReportTest, CountsByCodeAndTimesByKind) {
  LoadRecord record = Record();
  Add(record, 0, 10, kOk);
  Add(record, 100, 30, kOk);
  Add(record, 200, 1, kResourceExhausted);
  Add(record, 300, 3, kUnavailable);
  Add(record, 400, 205, kDeadlineExceeded);
  Add(record, 500, 2, kNotFound);
  record.not_sent.push_back({milliseconds(600), 0, 0, 0});
  const json phase = json::parse(LoadJson(record))["phases"][0];
  EXPECT_EQ(phase["planned"], 7);
  EXPECT_EQ(phase["sent"], 6);
  EXPECT_EQ(phase["not_sent"], 1);
  EXPECT_EQ(phase["codes"], json::parse(R"({"OK": 2, "RESOURCE_EXHAUSTED": 1, "UNAVAILABLE": 1,
                                            "DEADLINE_EXCEEDED": 1, "NOT_FOUND": 1})"));
  EXPECT_EQ(phase["ok_ms"]["count"], 2);
  EXPECT_DOUBLE_EQ(phase["ok_ms"]["mean"], 20);
  EXPECT_DOUBLE_EQ(phase["refused_ms"]["max"], 3);
  EXPECT_DOUBLE_EQ(phase["deadline_exceeded_ms"]["p50"], 205);
}

TEST(LoadReportTest, WhatNobodyMeasuredIsNull) {
  const json phase = json::parse(LoadJson(Record()))["phases"][0];
  EXPECT_EQ(phase["ok_ms"]["count"], 0);
  EXPECT_TRUE(phase["ok_ms"]["p99"].is_null());
  EXPECT_EQ(phase["codes"], json::object());
}

// A call that was sent late has waited since it was planned for.
TEST(LoadReportTest, GoodputIsWhatWasInTimeSinceItWasPlanned) {
  LoadRecord record = Record();
  Add(record, 0, 200, kOk);
  Add(record, 100, 201, kOk, {}, 150);
  Add(record, 999, 10, kOk);  // Ends in the next phase.
  const json phase = json::parse(LoadJson(record))["phases"][0];
  EXPECT_DOUBLE_EQ(phase["goodput_per_second"], 2);
  EXPECT_DOUBLE_EQ(phase["ok_in_phase_per_second"], 2);
  EXPECT_DOUBLE_EQ(phase["ok_ms"]["max"], 201);
  EXPECT_DOUBLE_EQ(phase["late_ms"]["max"], 150);
}

// What a closed loop has in flight at its end would make it look faster than it is.
TEST(LoadReportTest, AClosedLoopCountsWhatEndedInTime) {
  LoadRecord record = Record();
  record.closed = true;
  record.phases = {{0, 1}};
  Add(record, 0, 100, kOk);
  Add(record, 950, 100, kOk);
  const json phase = json::parse(LoadJson(record))["phases"][0];
  EXPECT_DOUBLE_EQ(phase["goodput_per_second"], 1);
  EXPECT_EQ(phase["codes"]["OK"], 2);
}

TEST(LoadReportTest, PhasesClientsAndModelsAreToldApart) {
  LoadRecord record = Record();
  Add(record, 0, 1, kOk, {0, 0, 0});
  Add(record, 1100, 1, kOk, {1, 1, 0});
  Add(record, 1200, 1, kUnavailable, {1, 1, 1});
  record.not_sent.push_back({milliseconds(1300), 1, 0, 1});
  const json phases = json::parse(LoadJson(record))["phases"];
  EXPECT_EQ(phases[0]["planned"], 1);
  EXPECT_EQ(phases[1]["clients"]["client-0"]["codes"], json::parse(R"({"OK": 1})"));
  EXPECT_EQ(phases[1]["clients"]["client-1"]["codes"], json::parse(R"({"UNAVAILABLE": 1})"));
  EXPECT_EQ(phases[1]["clients"]["client-1"]["planned"], 2);
  EXPECT_EQ(phases[1]["models"]["b"]["sent"], 2);
  EXPECT_EQ(phases[1]["models"]["a"]["not_sent"], 1);
}

TEST(LoadReportTest, SeriesShowRecovery) {
  LoadRecord record = Record();
  Add(record, 50, 500, kOk);
  Add(record, 150, 10, kOk);
  Add(record, 160, 10, kUnavailable);
  const json series = json::parse(LoadJson(record))["series"];
  EXPECT_EQ(series["planned"], json::parse("[1, 2, 0, 0, 0, 0]"));
  EXPECT_EQ(series["ok_by_planned"], json::parse("[1, 1, 0, 0, 0, 0]"));
  EXPECT_EQ(series["good_by_planned"], json::parse("[0, 1, 0, 0, 0, 0]"));
  EXPECT_EQ(series["ok_by_end"], json::parse("[0, 1, 0, 0, 0, 1]"));
}

TEST(LoadReportTest, AGeneratorThatIsLateSaysSo) {
  LoadRecord record = Record();
  Add(record, 0, 10, kOk);
  EXPECT_EQ(json::parse(LoadJson(record))["generator"]["kept_up"], true);
  EXPECT_THAT(LoadTable(record), Not(HasSubstr("did not keep up")));
  Add(record, 1000, 10, kOk, {1}, 6);
  const json found = json::parse(LoadJson(record));
  EXPECT_EQ(found["phases"][0]["kept_up"], true);
  EXPECT_EQ(found["phases"][1]["kept_up"], false);
  EXPECT_EQ(found["generator"]["kept_up"], false);
  EXPECT_DOUBLE_EQ(found["generator"]["cpu_us_per_call"], 500);
  EXPECT_THAT(LoadTable(record), HasSubstr("did not keep up"));
}

}  // namespace
}  // namespace torchd::bench
