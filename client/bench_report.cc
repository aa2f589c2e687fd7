#include "client/bench_report.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/table.h"

namespace torchd {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kBarMax = 40;
constexpr int kCurveShown = 10;

// Milliseconds with digits enough for fast models.
std::string Ms(double microseconds) {
  return absl::StrFormat("%.*f", microseconds < 10'000 ? 3 : 2, microseconds / 1000);
}

// "ids int64[128], mask int64[128]"
std::string InputsText(const v1::BenchmarkResult& result) {
  return absl::StrJoin(result.inputs(), ", ",
                       [](std::string* text, const v1::TensorDescription& input) {
                         absl::StrAppend(text, input.name(), " ", input.data_type(), "[",
                                         absl::StrJoin(input.shape(), ","), "]");
                       });
}

std::string CurveText(const v1::BenchmarkResult& result) {
  std::string text;
  for (int i = 0; i < std::min(result.curve_us_size(), kCurveShown); ++i) {
    absl::StrAppend(&text, i > 0 ? " " : "", Ms(result.curve_us(i)));
  }
  return text;
}

std::string HistogramText(const v1::BenchmarkResult& result) {
  int64_t most = 1;
  for (const v1::TimeBin& bin : result.bins()) most = std::max(most, bin.runs());
  std::vector<std::vector<std::string>> rows = {{"MS", "RUNS"}};
  for (const v1::TimeBin& bin : result.bins()) {
    const double share = static_cast<double>(bin.runs()) / static_cast<double>(most);
    // What is there shows.
    const auto length = static_cast<size_t>(std::ceil(share * kBarMax));
    rows.push_back({absl::StrCat(Ms(bin.from_us()), " - ", Ms(bin.to_us())),
                    absl::StrCat(bin.runs()), std::string(length, '#')});
  }
  return Columns(rows, "  ");
}

// In the order of the columns.
std::vector<std::pair<const char*, double>> Numbers(const v1::RunTimes& times) {
  return {{"min_us", times.min_us()},
          {"p50_us", times.p50_us()},
          {"p90_us", times.p90_us()},
          {"p95_us", times.p95_us()},
          {"p99_us", times.p99_us()},
          {"max_us", times.max_us()},
          {"mean_us", times.mean_us()},
          {"stddev_us", times.stddev_us()},
          {"median_low_us", times.median_low_us()},
          {"median_high_us", times.median_high_us()},
          {"median_confidence", times.median_confidence()}};
}

std::string Quoted(const std::string& text) {
  return absl::StrCat("\"", absl::StrReplaceAll(OneLine(text), {{"\"", "\"\""}}), "\"");
}

}  // namespace

std::string BenchProgressLine(const v1::BenchmarkProgress& progress) {
  const std::string elapsed =
      absl::StrFormat("%.1f s", static_cast<double>(progress.elapsed_ms()) / 1000);
  const std::string total =
      progress.runs_total() > 0 ? absl::StrCat(" of ", progress.runs_total()) : "";
  switch (progress.phase()) {
    case v1::BenchmarkProgress::PHASE_LOADING:
      return absl::StrCat("loading, ", elapsed);
    case v1::BenchmarkProgress::PHASE_WARM_UP:
      return absl::StrCat("warm-up ", progress.runs(), total, ", ", elapsed);
    default:
      return absl::StrCat("measuring ", progress.runs(), total, ", ",
                          absl::StrFormat("%.0f %%, ", progress.share() * 100), elapsed);
  }
}

std::string BenchTable(const v1::BenchmarkResult& result) {
  const v1::RunTimes& times = result.times();
  std::string text = absl::StrCat(
      OneLine(result.model()), " version ", result.version(), ", plan ", OneLine(result.plan()),
      "\n  ", result.batch_size(), result.batch_size() == 1 ? " row" : " rows", " of ",
      OneLine(InputsText(result)), ", ", result.concurrency(), " at a time\n  ", times.runs(),
      " runs after ", result.warm_up(), " of warm-up, ",
      absl::StrFormat("%.1f s", static_cast<double>(result.elapsed_ms()) / 1000), "\n");
  std::vector<std::vector<std::string>> rows = {
      {"median", Ms(times.p50_us()),
       absl::StrFormat("ms; %.1f %% sure: %s to %s", times.median_confidence() * 100,
                       Ms(times.median_low_us()), Ms(times.median_high_us()))},
      {"p90", Ms(times.p90_us()), "ms"},
      {"p95", Ms(times.p95_us()), "ms"},
      {"p99", Ms(times.p99_us()), "ms"},
      {"least", Ms(times.min_us()), "ms"},
      {"most", Ms(times.max_us()), "ms"},
      {"mean", Ms(times.mean_us()), absl::StrCat("ms; standard deviation ", Ms(times.stddev_us()))},
      {"speed", absl::StrFormat("%.1f", result.rows_per_second()), "rows/s"}};
  absl::StrAppend(&text, Columns(rows, "  "), "  first runs, ms: ", CurveText(result), "\n");
  if (result.rows_went_first() > 0) {
    absl::StrAppend(&text, "  gave way to ", result.rows_went_first(), " runs of clients' rows\n");
  }
  return absl::StrCat(text, HistogramText(result));
}

std::string BenchJson(const v1::BenchmarkResult& result) {
  Json inputs = Json::array();
  for (const v1::TensorDescription& input : result.inputs()) {
    inputs.push_back({{"name", input.name()},
                      {"data_type", input.data_type()},
                      {"shape", std::vector<int64_t>(input.shape().begin(), input.shape().end())}});
  }
  Json times = {{"runs", result.times().runs()}};
  for (const auto& [name, value] : Numbers(result.times())) times[name] = value;
  Json bins = Json::array();
  for (const v1::TimeBin& bin : result.bins()) {
    bins.push_back({{"from_us", bin.from_us()}, {"to_us", bin.to_us()}, {"runs", bin.runs()}});
  }
  const Json json = {
      {"model", result.model()},
      {"version", result.version()},
      {"plan", result.plan()},
      {"inputs", inputs},
      {"batch_size", result.batch_size()},
      {"concurrency", result.concurrency()},
      {"warm_up", result.warm_up()},
      {"times", times},
      {"bins", bins},
      {"curve_us", std::vector<double>(result.curve_us().begin(), result.curve_us().end())},
      {"rows_per_second", result.rows_per_second()},
      {"rows_went_first", result.rows_went_first()},
      {"elapsed_ms", result.elapsed_ms()}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string BenchCsv(const v1::BenchmarkResult& result) {
  std::vector<std::pair<std::string, std::string>> columns = {
      {"model", Quoted(result.model())},
      {"version", absl::StrCat(result.version())},
      {"plan", Quoted(result.plan())},
      {"inputs", Quoted(InputsText(result))},
      {"batch_size", absl::StrCat(result.batch_size())},
      {"concurrency", absl::StrCat(result.concurrency())},
      {"warm_up", absl::StrCat(result.warm_up())},
      {"runs", absl::StrCat(result.times().runs())}};
  for (const auto& [name, value] : Numbers(result.times())) {
    columns.emplace_back(name, absl::StrFormat("%.3f", value));
  }
  columns.emplace_back("rows_per_second", absl::StrFormat("%.3f", result.rows_per_second()));
  columns.emplace_back("rows_went_first", absl::StrCat(result.rows_went_first()));
  columns.emplace_back("elapsed_ms", absl::StrCat(result.elapsed_ms()));
  const auto line = [&columns](auto member) {
    return absl::StrJoin(columns, ",", [member](std::string* out, const auto& column) {
      out->append(column.*member);
    });
  };
  using Column = std::pair<std::string, std::string>;
  return absl::StrCat(line(&Column::first), "\n", line(&Column::second), "\n");
}

}  // namespace torchd
