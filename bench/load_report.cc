#include "bench/load_report.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "bench/quantiles.h"

namespace torchd::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kSeriesStepSeconds = 0.1;

// By number, as gRPC defines them.
constexpr std::array<const char*, 17> kCodes = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};
constexpr int kOk = 0;
constexpr int kDeadlineExceeded = 4;
constexpr int kResourceExhausted = 8;
constexpr int kUnavailable = 14;

double InMilliseconds(Duration duration) { return Seconds(duration) * 1e3; }

// The calls of a phase, or of one client or model in it.
class Group {
 public:
  void AddNotSent() { ++not_sent_; }

  // `in_phase`: it ended before the phase did. `good`: its answer was OK and in time.
  void Add(const Sample& sample, bool in_phase, bool good) {
    const double milliseconds = InMilliseconds(sample.ended - sample.planned.at);
    const int code = std::min<int>(sample.code, kCodes.size() - 1);
    ++codes_[code];
    if (code == kOk) ok_ms_.push_back(milliseconds);
    if (code == kResourceExhausted || code == kUnavailable) refused_ms_.push_back(milliseconds);
    if (code == kDeadlineExceeded) exceeded_ms_.push_back(milliseconds);
    late_ms_.push_back(InMilliseconds(sample.sent - sample.planned.at));
    good_ += good ? 1 : 0;
    ok_in_phase_ += code == kOk && in_phase ? 1 : 0;
  }

  int64_t Sent() const { return static_cast<int64_t>(late_ms_.size()); }
  int64_t NotSent() const { return not_sent_; }
  int64_t Good() const { return good_; }
  int64_t OkInPhase() const { return ok_in_phase_; }
  int64_t Count(int code) const { return codes_[code]; }
  Summary Ok() const { return Summarise(ok_ms_); }
  Summary Refused() const { return Summarise(refused_ms_); }
  Summary Exceeded() const { return Summarise(exceeded_ms_); }
  Summary Late() const { return Summarise(late_ms_); }

 private:
  int64_t not_sent_ = 0;
  int64_t good_ = 0;
  int64_t ok_in_phase_ = 0;
  std::array<int64_t, kCodes.size()> codes_{};
  std::vector<double> ok_ms_;
  std::vector<double> refused_ms_;
  std::vector<double> exceeded_ms_;
  std::vector<double> late_ms_;
};

struct PhaseGroups {
  Group all;
  std::vector<Group> clients;
  std::vector<Group> models;
};

Duration PhaseEnd(const LoadRecord& record, int phase) {
  double end = 0;
  for (int i = 0; i <= phase; ++i) end += record.phases[i].seconds;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(end));
}

bool InTime(const LoadRecord& record, const Sample& sample) {
  return sample.code == kOk && (record.deadline == Duration::zero() ||
                                sample.ended - sample.planned.at <= record.deadline);
}

std::vector<PhaseGroups> GroupCalls(const LoadRecord& record) {
  std::vector<PhaseGroups> groups(record.phases.size());
  std::vector<Duration> ends;
  for (PhaseGroups& phase : groups) {
    phase.clients.resize(record.clients);
    phase.models.resize(record.models.size());
    ends.push_back(PhaseEnd(record, static_cast<int>(ends.size())));
  }
  for (const Sample& sample : record.samples) {
    PhaseGroups& phase = groups[sample.planned.phase];
    const bool in_phase = sample.ended <= ends[sample.planned.phase];
    // A closed loop sends what is answered: what ends after it would count calls twice over.
    const bool good = InTime(record, sample) && (in_phase || !record.closed);
    phase.all.Add(sample, in_phase, good);
    phase.clients[sample.planned.client].Add(sample, in_phase, good);
    phase.models[sample.planned.model].Add(sample, in_phase, good);
  }
  for (const PlannedCall& call : record.not_sent) {
    PhaseGroups& phase = groups[call.phase];
    phase.all.AddNotSent();
    phase.clients[call.client].AddNotSent();
    phase.models[call.model].AddNotSent();
  }
  return groups;
}

Json SummaryJson(const Summary& summary) {
  Json json = {{"count", summary.count}, {"p50", summary.p50},     {"p90", summary.p90},
               {"p99", summary.p99},     {"p99_9", summary.p99_9}, {"max", summary.max},
               {"mean", summary.mean}};
  if (summary.count > 0) return json;
  for (auto& [key, value] : json.items()) {
    if (key != "count") value = nullptr;
  }
  return json;
}

Json GroupJson(const Group& group, double seconds) {
  Json codes = Json::object();
  for (size_t code = 0; code < kCodes.size(); ++code) {
    const int64_t count = group.Count(static_cast<int>(code));
    if (count > 0) codes[kCodes[code]] = count;
  }
  return {{"planned", group.Sent() + group.NotSent()},
          {"sent", group.Sent()},
          {"not_sent", group.NotSent()},
          {"codes", codes},
          {"ok_ms", SummaryJson(group.Ok())},
          {"refused_ms", SummaryJson(group.Refused())},
          {"deadline_exceeded_ms", SummaryJson(group.Exceeded())},
          {"goodput_per_second", static_cast<double>(group.Good()) / seconds},
          {"ok_in_phase_per_second", static_cast<double>(group.OkInPhase()) / seconds}};
}

bool KeptUp(const Summary& late) { return late.p99 <= kLateMillisecondsMax; }

Json PhaseJson(const LoadRecord& record, const Phase& phase, const PhaseGroups& groups) {
  Json json = {{"rate", phase.per_second}, {"seconds", phase.seconds}};
  json.update(GroupJson(groups.all, phase.seconds));
  const Summary late = groups.all.Late();
  json["late_ms"] = SummaryJson(late);
  json["kept_up"] = KeptUp(late);
  for (int i = 0; i < record.clients; ++i) {
    json["clients"][absl::StrCat("client-", i)] = GroupJson(groups.clients[i], phase.seconds);
  }
  for (size_t i = 0; i < record.models.size(); ++i) {
    json["models"][record.models[i]] = GroupJson(groups.models[i], phase.seconds);
  }
  return json;
}

// Counts of the whole run, one per step.
class Series {
 public:
  void Add(Duration at) {
    const size_t step = static_cast<size_t>(Seconds(at) / kSeriesStepSeconds);
    if (step >= counts_.size()) counts_.resize(step + 1);
    ++counts_[step];
  }

  // With zeros up to `steps`.
  Json AsJson(size_t steps) const {
    Json json = counts_;
    while (json.size() < steps) json.push_back(0);
    return json;
  }

  size_t size() const { return counts_.size(); }

 private:
  std::vector<int64_t> counts_;
};

Json SeriesJson(const LoadRecord& record) {
  Series planned;
  Series ok_by_planned;
  Series ok_by_end;
  Series good_by_planned;
  for (const Sample& sample : record.samples) {
    planned.Add(sample.planned.at);
    if (sample.code != kOk) continue;
    ok_by_planned.Add(sample.planned.at);
    ok_by_end.Add(sample.ended);
    if (InTime(record, sample)) good_by_planned.Add(sample.planned.at);
  }
  for (const PlannedCall& call : record.not_sent) planned.Add(call.at);
  const size_t steps = std::max(planned.size(), ok_by_end.size());
  return {{"step_seconds", kSeriesStepSeconds},
          {"planned", planned.AsJson(steps)},
          {"ok_by_planned", ok_by_planned.AsJson(steps)},
          {"good_by_planned", good_by_planned.AsJson(steps)},
          {"ok_by_end", ok_by_end.AsJson(steps)}};
}

double CostPerCall(const LoadRecord& record) {
  const size_t calls = std::max<size_t>(record.samples.size(), 1);
  return Seconds(record.processor_time) * 1e6 / static_cast<double>(calls);
}

std::string Cell(const Summary& summary, double value) {
  return summary.count == 0 ? "-" : absl::StrFormat("%.2f", value);
}

std::string Row(const std::string& name, const Group& group, double seconds) {
  const Summary ok = group.Ok();
  const Summary late = group.Late();
  const int64_t refused = group.Count(kResourceExhausted) + group.Count(kUnavailable);
  const int64_t too_late = group.Count(kDeadlineExceeded);
  return absl::StrFormat("%12s %6g %8d %8d %8d %8d %8d %8d %9s %9s %9s %9.1f\n", name, seconds,
                         group.Sent() + group.NotSent(), group.NotSent(), group.Count(kOk), refused,
                         too_late, group.Sent() - group.Count(kOk) - refused - too_late,
                         Cell(ok, ok.p50), Cell(ok, ok.p99), Cell(late, late.p99),
                         static_cast<double>(group.Good()) / seconds);
}

}  // namespace

std::string LoadJson(const LoadRecord& record) {
  const std::vector<PhaseGroups> groups = GroupCalls(record);
  Json phases = Json::array();
  bool kept_up = true;
  for (size_t i = 0; i < groups.size(); ++i) {
    phases.push_back(PhaseJson(record, record.phases[i], groups[i]));
    kept_up = kept_up && phases.back()["kept_up"].get<bool>();
  }
  Json request_bytes = Json::object();
  for (size_t i = 0; i < record.models.size(); ++i) {
    request_bytes[record.models[i]] = record.request_bytes[i];
  }
  const Json json = {{"mode", record.closed ? "closed" : "open"},
                     {"concurrency", record.concurrency},
                     {"deadline_ms", InMilliseconds(record.deadline)},
                     {"clients", record.clients},
                     {"greedy", record.greedy},
                     {"seed", record.seed},
                     {"request_bytes", request_bytes},
                     {"phases", phases},
                     {"series", SeriesJson(record)},
                     {"generator",
                      {{"wall_seconds", Seconds(record.wall)},
                       {"cpu_seconds", Seconds(record.processor_time)},
                       {"cpu_us_per_call", CostPerCall(record)},
                       {"kept_up", kept_up}}}};
  return json.dump(1) + "\n";
}

std::string LoadTable(const LoadRecord& record) {
  std::string table = absl::StrFormat("%12s %6s %8s %8s %8s %8s %8s %8s %9s %9s %9s %9s\n", "rate",
                                      "s", "planned", "not sent", "OK", "refused", "too late",
                                      "other", "p50 ms", "p99 ms", "late p99", "good/s");
  const std::vector<PhaseGroups> groups = GroupCalls(record);
  for (size_t i = 0; i < groups.size(); ++i) {
    const Phase& phase = record.phases[i];
    const std::string rate =
        record.closed ? absl::StrCat("x", record.concurrency) : absl::StrCat(phase.per_second);
    table += Row(rate, groups[i].all, phase.seconds);
    for (size_t model = 0; model < record.models.size() && record.models.size() > 1; ++model) {
      table += Row(record.models[model], groups[i].models[model], phase.seconds);
    }
    const Summary late = groups[i].all.Late();
    if (KeptUp(late)) continue;
    absl::StrAppendFormat(&table, "the generator did not keep up: it sent %.1f ms late at p99\n",
                          late.p99);
  }
  absl::StrAppendFormat(&table, "generator: %.2f s of CPU in %.2f s, %.0f us a call\n",
                        Seconds(record.processor_time), Seconds(record.wall), CostPerCall(record));
  return table;
}

}  // namespace torchd::bench
