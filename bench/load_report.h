// What a load run found: from one record per call to JSON, or to a table for people. Pure.
//
// Times count from the moment a call was planned for, not from when it was sent: a generator that
// is held up by a slow server must not hide the wait (no coordinated omission).
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "bench/arrival_plan.h"
#include "bench/phases.h"
#include "server/base/clock.h"

namespace torchd::bench {

// A call that was sent and has ended.
struct Sample {
  PlannedCall planned;
  Duration sent{};  // Since the run began, as `ended`.
  Duration ended{};
  uint8_t code = 0;  // A grpc::StatusCode.
};

struct LoadRecord {
  bool closed = false;
  int concurrency = 0;        // Of a closed loop, whose only phase is planned by its answers.
  std::vector<Phase> phases;  // A closed loop: one, with rate 0.
  std::vector<std::string> models;
  std::vector<size_t> request_bytes;  // Of each model.
  int clients = 1;
  double greedy = 1;
  Duration deadline{};  // 0: none.
  uint64_t seed = 0;
  Duration wall{};
  Duration processor_time{};  // Of the generator itself.
  std::deque<Sample> samples;
  std::deque<PlannedCall> not_sent;  // Beyond the limit of calls in flight.
};

// Later than this at p99, the generator and not the server may be what was measured.
inline constexpr double kLateMillisecondsMax = 5;

std::string LoadJson(const LoadRecord& record);

std::string LoadTable(const LoadRecord& record);

}  // namespace torchd::bench
