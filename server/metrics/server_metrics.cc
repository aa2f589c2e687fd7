#include "server/metrics/server_metrics.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/metrics/process_stats.h"

namespace torchd {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr std::array<const char*, kRefusals> kRefusalNames = {
    "unknown_model", "not_ready", "queue_full", "invalid", "deadline",
    "too_late",      "displaced", "memory",     "draining"};
constexpr std::array<const char*, kDispatches> kDispatchNames = {"idle", "next", "full", "delay",
                                                                 "retry"};
constexpr std::array<const char*, 5> kStates = {"UNKNOWN", "LOADING", "READY", "UNLOADING",
                                                "UNAVAILABLE"};

MetricFamily Family(const char* name, const char* help, MetricType type) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

void AddCounter(MetricFamily& family, Labels labels, const Counter& counter) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  metric.counter.value = static_cast<double>(counter.value());
}

void AddCount(MetricFamily& family, Labels labels, std::int64_t count) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  metric.counter.value = static_cast<double>(count);
}

void AddGauge(MetricFamily& family, Labels labels, double value) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  metric.gauge.value = value;
}

void AddHistogram(MetricFamily& family, Labels labels, ClientMetric::Histogram histogram) {
  ClientMetric& metric = family.metric.emplace_back();
  metric.label = std::move(labels);
  metric.histogram = std::move(histogram);
}

Labels VersionLabels(const std::string& model, std::int64_t version) {
  return {{"model", model}, {"version", absl::StrCat(version)}};
}

Labels With(Labels labels, const char* name, std::string value) {
  labels.push_back({name, std::move(value)});
  return labels;
}

void AddStages(MetricFamily& family, const Labels& labels, const ModelMetrics& model) {
  AddHistogram(family, With(labels, "stage", "preprocess"), model.preprocess.Read());
  AddHistogram(family, With(labels, "stage", "queue"), model.queue.Read());
  AddHistogram(family, With(labels, "stage", "execute"), model.execute.Read());
  AddHistogram(family, With(labels, "stage", "postprocess"), model.postprocess.Read());
}

// A code that never came is left out: 17 series per model, nearly all 0, would drown the rest. OK
// always shows, so that a rate over it exists from the start.
void AddItems(MetricFamily& family, const Labels& labels, const ModelMetrics& model) {
  for (int code = 0; code <= static_cast<int>(absl::StatusCode::kUnauthenticated); ++code) {
    const auto status_code = static_cast<absl::StatusCode>(code);
    const Counter& items = model.items(status_code);
    if (status_code != absl::StatusCode::kOk && items.value() == 0) continue;
    AddCounter(family, With(labels, "code", absl::StatusCodeToString(status_code)), items);
  }
}

void AddRuns(MetricFamily& family, const Labels& labels, const ModelMetrics& model) {
  for (std::size_t reason = 0; reason < kDispatches; ++reason) {
    AddCounter(family, With(labels, "reason", kDispatchNames[reason]),
               model.runs(static_cast<Dispatch>(reason)));
  }
}

}  // namespace

std::size_t ModelMetrics::ItemsIndex(absl::StatusCode code) {
  const auto index = static_cast<std::size_t>(code);
  return index < kCodes ? index : static_cast<std::size_t>(absl::StatusCode::kUnknown);
}

ModelMetrics& ServerMetrics::ForModel(const std::string& model, std::int64_t version) {
  absl::MutexLock lock(&mutex_);
  Entry& entry = models_[{model, version}];
  if (entry.metrics == nullptr) entry.metrics = std::make_unique<ModelMetrics>();
  ++entry.uses;
  return *entry.metrics;
}

void ServerMetrics::RemoveModel(const std::string& model, std::int64_t version) {
  absl::MutexLock lock(&mutex_);
  const auto found = models_.find({model, version});
  if (found == models_.end() || --found->second.uses > 0) return;
  AddTo(*found->second.metrics, removed_);
  models_.erase(found);
}

void ServerMetrics::AddTo(const ModelMetrics& metrics, Items& items) {
  for (int code = 0; code <= static_cast<int>(absl::StatusCode::kUnauthenticated); ++code) {
    const auto status_code = static_cast<absl::StatusCode>(code);
    (code == 0 ? items.ok : items.failed) += metrics.items(status_code).value();
  }
}

ServerMetrics::Items ServerMetrics::items() const {
  absl::MutexLock lock(&mutex_);
  Items items = removed_;
  for (const auto& model : models_) AddTo(*model.second.metrics, items);
  return items;
}

void ServerMetrics::CountLoad(const std::string& model, absl::StatusCode code) {
  absl::MutexLock lock(&mutex_);
  ++loads_[{model, code}];
}

void ServerMetrics::AddExecutor(const std::string& executor,
                                std::function<std::int64_t()> rows_waiting) {
  absl::MutexLock lock(&mutex_);
  executors_[executor] = std::move(rows_waiting);
}

void ServerMetrics::SetModelStates(std::function<std::vector<ModelState>()> states) {
  absl::MutexLock lock(&mutex_);
  states_ = std::move(states);
}

std::vector<MetricFamily> ServerMetrics::Collect() const {
  Families families;
  CollectModels(families);
  CollectLoads(families);
  CollectRefusals(families);
  CollectExecutors(families);
  CollectStates(families);
  CollectProcess(families);
  return families;
}

void ServerMetrics::CollectModels(Families& families) const {
  MetricFamily request =
      Family("torchd_request_duration_seconds",
             "Seconds from the arrival of an item's request to its answer.", MetricType::Histogram);
  MetricFamily stage =
      Family("torchd_stage_duration_seconds", "Seconds an item spent in each stage of its request.",
             MetricType::Histogram);
  MetricFamily items =
      Family("torchd_items_total", "Items answered, by status code.", MetricType::Counter);
  MetricFamily rows =
      Family("torchd_batch_rows", "Rows in each batch that ran.", MetricType::Histogram);
  MetricFamily runs =
      Family("torchd_runs_total", "Runs of a model, by what made each begin.", MetricType::Counter);
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [key, entry] : models_) {
      const Labels labels = VersionLabels(key.first, key.second);
      AddHistogram(request, labels, entry.metrics->request.Read());
      AddStages(stage, labels, *entry.metrics);
      AddItems(items, labels, *entry.metrics);
      AddHistogram(rows, labels, entry.metrics->batch_rows.Read());
      AddRuns(runs, labels, *entry.metrics);
    }
  }
  for (MetricFamily* family : {&request, &stage, &items, &rows, &runs}) {
    families.push_back(std::move(*family));
  }
}

void ServerMetrics::CollectLoads(Families& families) const {
  MetricFamily& family = families.emplace_back(Family(
      "torchd_model_loads_total", "Versions loaded, or not, by status code.", MetricType::Counter));
  absl::MutexLock lock(&mutex_);
  for (const auto& [key, count] : loads_) {
    ClientMetric& metric = family.metric.emplace_back();
    metric.label = {{"model", key.first}, {"code", absl::StatusCodeToString(key.second)}};
    metric.counter.value = static_cast<double>(count);
  }
}

void ServerMetrics::CollectRefusals(Families& families) const {
  MetricFamily& family = families.emplace_back(
      Family("torchd_requests_refused_total",
             "Requests refused before they reached a model, by reason.", MetricType::Counter));
  for (std::size_t reason = 0; reason < kRefusals; ++reason) {
    AddCounter(family, {{"reason", kRefusalNames[reason]}}, refused_[reason]);
  }
}

void ServerMetrics::CollectExecutors(Families& families) const {
  std::map<std::string, std::function<std::int64_t()>> executors;
  {
    absl::MutexLock lock(&mutex_);
    executors = executors_;
  }
  MetricFamily& family = families.emplace_back(Family(
      "torchd_executor_rows_waiting", "Rows that wait for the executor.", MetricType::Gauge));
  for (const auto& [executor, rows_waiting] : executors) {
    AddGauge(family, {{"executor", executor}}, static_cast<double>(rows_waiting()));
  }
}

void ServerMetrics::CollectStates(Families& families) const {
  std::function<std::vector<ModelState>()> states;
  {
    absl::MutexLock lock(&mutex_);
    states = states_;
  }
  MetricFamily& family = families.emplace_back(
      Family("torchd_model_state", "1 for the state a model version is in, 0 for the other states.",
             MetricType::Gauge));
  MetricFamily plans =
      Family("torchd_model_plan",
             "Always 1; the labels say by which plan a model version runs, on how many threads.",
             MetricType::Gauge);
  MetricFamily fallbacks =
      Family("torchd_plan_fallbacks_total",
             "Runs in which the plan failed and the saved model did not.", MetricType::Counter);
  for (const ModelState& row : states == nullptr ? std::vector<ModelState>() : states()) {
    const Labels version = VersionLabels(row.model, row.version);
    for (const char* state : kStates) {
      AddGauge(family, With(version, "state", state), row.state == state ? 1 : 0);
    }
    if (row.plan.empty()) continue;
    const std::string threads = row.plan_threads == 0 ? "all" : std::to_string(row.plan_threads);
    AddGauge(plans, With(With(version, "plan", row.plan), "threads", threads), 1);
    AddCount(fallbacks, version, row.plan_fallbacks);
  }
  families.push_back(std::move(plans));
  families.push_back(std::move(fallbacks));
}

void ServerMetrics::CollectProcess(Families& families) const {
  const auto add = [&families](const char* name, const char* help, Labels labels, double value) {
    AddGauge(families.emplace_back(Family(name, help, MetricType::Gauge)), std::move(labels),
             value);
  };
  add("torchd_build_info", "Always 1; the labels say what this program was built from.",
      {{"version", build_.version}, {"libtorch", build_.libtorch}}, 1);
  const std::optional<ProcessStats> stats = ReadProcessStats();
  if (!stats) return;
  add("process_start_time_seconds", "When the process started, in seconds since the epoch.", {},
      stats->start_time_seconds);
  add("process_resident_memory_bytes", "Memory of the process that is in RAM, in bytes.", {},
      stats->resident_bytes);
  add("process_open_fds", "Open file descriptors.", {}, stats->open_fds);
  add("process_threads", "Threads of the process.", {}, stats->threads);
}

}  // namespace torchd
