#include "client/render.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/convert.h"
#include "client/table.h"

namespace torchd {
namespace {

std::string Milliseconds(int64_t microseconds) {
  return absl::StrFormat("%.2f", static_cast<double>(microseconds) / 1000);
}

bool AllProbabilities(const v1::ClassifyResult& result) {
  return std::all_of(result.classes().begin(), result.classes().end(), [](const v1::Class& one) {
    return one.probability() >= 0 && one.probability() <= 1;
  });
}

// "pixels uint8[3,224,?]"
std::string TensorText(const v1::TensorDescription& tensor) {
  const std::string shape = absl::StrJoin(tensor.shape(), ",", [](std::string* out, int64_t size) {
    absl::StrAppend(out, size < 0 ? "?" : absl::StrCat(size));
  });
  return OneLine(absl::StrCat(tensor.name(), " ", tensor.data_type(), "[", shape, "]"));
}

// "3 (canary, stable)"
std::string VersionText(const v1::ModelVersion& model) {
  const std::string labels = absl::StrJoin(model.version_labels(), ", ");
  return labels.empty() ? absl::StrCat(model.version())
                        : OneLine(absl::StrCat(model.version(), " (", labels, ")"));
}

std::string Duration(int64_t milliseconds) {
  const int64_t seconds = milliseconds / 1000;
  const int64_t minutes = seconds / 60;
  const int64_t hours = minutes / 60;
  if (hours >= 24) return absl::StrFormat("%d d %d h", hours / 24, hours % 24);
  if (hours > 0) return absl::StrFormat("%d h %d min", hours, minutes % 60);
  if (minutes > 0) return absl::StrFormat("%d min %d s", minutes, seconds % 60);
  return absl::StrFormat("%.1f s", static_cast<double>(milliseconds) / 1000);
}

std::string OrNone(absl::string_view value) {
  return value.empty() ? std::string("-") : std::string(value);
}

// "64, 128"
template <typename Numbers>
std::string List(const Numbers& numbers) {
  return absl::StrJoin(numbers, ", ");
}

// By sizes and rows what a run takes, and what that makes for each of its rows.
std::string CostsTable(const v1::Scheduling& scheduling) {
  if (scheduling.costs().empty()) return "    nothing is measured yet\n";
  std::vector<std::vector<std::string>> rows = {
      {"SIZES", "ROWS", "MS PER RUN", "MS PER ROW", "RUNS"}};
  for (const v1::RunCost& cost : scheduling.costs()) {
    const double ms = static_cast<double>(cost.mean_us()) / 1000;
    rows.push_back({OrNone(absl::StrJoin(cost.open_sizes(), ",")), absl::StrCat(cost.bucket()),
                    absl::StrFormat("%.3f", ms),
                    absl::StrFormat("%.3f", ms / std::max(1, cost.bucket())),
                    absl::StrCat(cost.runs())});
  }
  return Columns(rows, "    ");
}

std::string SchedulingText(const v1::Scheduling& scheduling) {
  const auto at_most = [](int64_t value, absl::string_view unit, absl::string_view otherwise) {
    return value == 0 ? std::string(otherwise) : absl::StrCat("at most ", value, unit);
  };
  std::vector<std::vector<std::string>> rows = {
      {"rows in a run", absl::StrCat("at most ", scheduling.rows_per_batch_max(), ", in runs of ",
                                     List(scheduling.buckets()))},
      {"rows waiting",
       absl::StrCat(scheduling.rows_waiting(), " now, at most ", scheduling.rows_waiting_max())},
      {"wait for company", at_most(scheduling.delay_us_max(), " us", "none")},
      {"wait for callers",
       at_most(scheduling.regroup_us_max(), " us after a run, for those it answered", "none")},
      {"executors", at_most(scheduling.executors_max(), " at once", "all")},
      {"ageing", absl::StrCat("goes before newer rows a priority above after ",
                              scheduling.ageing_ms(), " ms")},
      {"time for a request", at_most(scheduling.timeout_ms(), " ms", "what its caller allows")},
      {"NaN, infinite", NonFiniteName(scheduling.non_finite())}};
  if (!scheduling.text_lengths().empty()) {
    rows.push_back({"texts padded to", absl::StrCat(List(scheduling.text_lengths()), " tokens")});
  }
  if (!scheduling.note().empty()) rows.push_back({"note", OneLine(scheduling.note())});
  return absl::StrCat(Columns(rows, "    "), CostsTable(scheduling));
}

// `table`: a line of headings and one for each model of the response, in their order.
std::string WithScheduling(const std::string& table, const v1::ListModelsResponse& response) {
  const std::vector<std::string> lines = absl::StrSplit(table, '\n');
  std::string text = absl::StrCat(lines[0], "\n");
  for (int i = 0; i < response.models_size(); ++i) {
    const v1::ModelVersion& model = response.models(i);
    absl::StrAppend(&text, lines[static_cast<size_t>(i) + 1], "\n",
                    model.has_scheduling() ? SchedulingText(model.scheduling()) : "");
  }
  return text;
}

}  // namespace

std::string ClassifyTable(const InputResult& result, bool scores) {
  const bool percent = !scores && AllProbabilities(*result.result);
  std::vector<std::vector<std::string>> rows;
  for (const v1::Class& one : result.result->classes()) {
    const std::string value = percent ? absl::StrFormat("%6.2f %%", one.probability() * 100)
                                      : absl::StrFormat("%8.4f", one.probability());
    const std::string label = one.label().empty() ? "(no label)" : OneLine(one.label());
    rows.push_back({value, label, absl::StrCat("#", one.index())});
  }
  const v1::StageTimes& times = result.result->times();
  return absl::StrCat(
      OneLine(result.input), "  (", OneLine(result.model), " version ", result.version, ")\n",
      rows.empty() ? "  no class is left\n" : Columns(rows, "  "),
      result.result->non_finite() ? "  scores that are NaN or infinite are left out\n" : "",
      "  ms: preprocess ", Milliseconds(times.preprocess_us()), ", queue ",
      Milliseconds(times.queue_us()), ", execute ", Milliseconds(times.execute_us()),
      ", postprocess ", Milliseconds(times.postprocess_us()), ", total ",
      Milliseconds(times.total_us()), "\n");
}

// "1 thread"
std::string ThreadsText(int threads) {
  if (threads == 0) return "all threads";
  return absl::StrCat(threads, threads == 1 ? " thread" : " threads");
}

std::string PlansTable(const v1::ListModelsResponse& response) {
  std::string text;
  for (const v1::ModelVersion& model : response.models()) {
    if (!model.has_plan()) {
      absl::StrAppend(&text, OneLine(model.name()), " ",
                      model.version() == 0 ? "-" : VersionText(model), ": ",
                      StateName(model.state()), model.reason().empty() ? "" : ", ",
                      OneLine(model.reason()), "\n");
      continue;
    }
    const v1::PlanReport& plan = model.plan();
    absl::StrAppend(&text, OneLine(model.name()), " ", VersionText(model), ": ", plan.plan(),
                    " on ", ThreadsText(plan.threads()), ", ", OneLine(plan.why()), "\n");
    if (plan.fallbacks() > 0) {
      absl::StrAppend(&text, "  the plan failed, ", plan.fallbacks(),
                      " times; it runs as saved until it is loaded again\n");
    }
    if (plan.candidates().empty()) continue;
    std::vector<std::vector<std::string>> rows = {
        {"PLAN", "THREADS", "STATE", "MS PER RUN", "TO FROZEN", "DIFFERENCE", "REASON"}};
    for (const v1::PlanCandidate& candidate : plan.candidates()) {
      const bool timed = candidate.state() == "timed";
      rows.push_back({candidate.plan(),
                      candidate.threads() == 0 ? "all" : absl::StrCat(candidate.threads()),
                      candidate.state(), timed ? Milliseconds(candidate.run_us()) : "-",
                      timed ? absl::StrFormat("%.2f", candidate.ratio()) : "-",
                      timed ? absl::StrFormat("%.1e", candidate.difference()) : "-",
                      OneLine(candidate.reason())});
    }
    absl::StrAppend(&text, Columns(rows, "  "));
  }
  return text.empty() ? "no version is ready\n" : text;
}

std::string ModelsTable(const v1::ListModelsResponse& response, bool verbose) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "VERSION", "STATE", "TAKES", "INPUTS", "REASON"}};
  for (const v1::ModelVersion& model : response.models()) {
    const std::string inputs = absl::StrJoin(
        model.inputs(), "; ", [](std::string* out, const v1::TensorDescription& tensor) {
          out->append(TensorText(tensor));
        });
    const std::string takes = OneLine(absl::StrJoin(model.takes(), ","));
    rows.push_back({OneLine(model.name()), model.version() == 0 ? "-" : VersionText(model),
                    StateName(model.state()), OrNone(takes), OrNone(inputs),
                    OneLine(model.reason())});
  }
  std::string table = Columns(rows, "");
  if (verbose) table = WithScheduling(table, response);
  std::string notes;
  std::set<std::string> seen;  // A model's notes stand at each of its versions.
  for (const v1::ModelVersion& model : response.models()) {
    for (const std::string& note : model.notes()) {
      const std::string line = OneLine(absl::StrCat(model.name(), ": ", note));
      if (seen.insert(line).second) absl::StrAppend(&notes, line, "\n");
    }
  }
  return absl::StrCat(table, notes.empty() ? "" : "\nNotes:\n", notes);
}

std::string ModelNames(const v1::ListModelsResponse& response) {
  std::set<std::string> names;
  for (const v1::ModelVersion& model : response.models()) names.insert(OneLine(model.name()));
  return absl::StrCat(absl::StrJoin(names, "\n"), names.empty() ? "" : "\n");
}

std::string StatusTable(const v1::GetServerStatusResponse& response) {
  std::vector<std::vector<std::string>> rows = {
      {"torchd", OneLine(response.version())},
      {"LibTorch", OneLine(response.libtorch_version())},
      {"up for", Duration(response.uptime_ms())},
      {"state", response.draining() ? "draining" : "serving"},
      {"models", absl::StrCat(response.versions_ready(), " of ", response.versions_total(),
                              " versions ready")},
      {"items",
       absl::StrCat(response.items_ok(), " answered, ", response.items_failed(), " failed")}};
  for (const v1::ExecutorStatus& executor : response.executors()) {
    rows.push_back({absl::StrCat("executor ", OneLine(executor.name())),
                    absl::StrCat(executor.threads(), " threads, ", executor.rows_waiting(),
                                 " rows waiting (at most ", executor.rows_waiting_max(),
                                 " a model), ", executor.rows_run(), " rows run")});
  }
  return Columns(rows, "");
}

std::string ErrorLine(const absl::Status& status, const std::string& about) {
  return absl::StrCat("torchctl: ", absl::StatusCodeToString(status.code()), ": ", OneLine(about),
                      about.empty() ? "" : ": ", OneLine(status.message()), "\n");
}

std::string NonFiniteName(v1::NonFinitePolicy policy) {
  switch (policy) {
    case v1::NON_FINITE_POLICY_ERROR:
      return "error";
    case v1::NON_FINITE_POLICY_FLAG:
      return "flag";
    default:
      return "unknown";
  }
}

}  // namespace torchd
