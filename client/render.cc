#include "client/render.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace torchd {
namespace {

std::string OneLine(absl::string_view text) {
  std::string line(text);
  for (char& c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) c = ' ';
  }
  return line;
}

// Characters of UTF-8 text; close enough to columns for labels.
size_t Width(absl::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

// Columns side by side, each as wide as its widest cell, two spaces between them.
std::string Columns(const std::vector<std::vector<std::string>>& rows, absl::string_view indent) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  std::string table;
  for (const std::vector<std::string>& row : rows) {
    std::string line(indent);
    for (size_t i = 0; i < row.size(); ++i) {
      absl::StrAppend(&line, row[i], std::string(widths[i] - Width(row[i]) + 2, ' '));
    }
    absl::StrAppend(&table, absl::StripTrailingAsciiWhitespace(line), "\n");
  }
  return table;
}

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
      Columns(rows, "  "), "  ms: preprocess ", Milliseconds(times.preprocess_us()), ", queue ",
      Milliseconds(times.queue_us()), ", execute ", Milliseconds(times.execute_us()),
      ", postprocess ", Milliseconds(times.postprocess_us()), ", total ",
      Milliseconds(times.total_us()), "\n");
}

std::string ModelsTable(const v1::ListModelsResponse& response) {
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "VERSION", "STATE", "TAKES", "INPUTS", "REASON"}};
  for (const v1::ModelVersion& model : response.models()) {
    const std::string inputs = absl::StrJoin(
        model.inputs(), "; ", [](std::string* out, const v1::TensorDescription& tensor) {
          out->append(TensorText(tensor));
        });
    const std::string takes = OneLine(absl::StrJoin(model.takes(), ","));
    rows.push_back({OneLine(model.name()), model.version() == 0 ? "-" : VersionText(model),
                    StateName(model.state()), takes.empty() ? "-" : takes,
                    inputs.empty() ? "-" : inputs, OneLine(model.reason())});
  }
  std::string notes;
  std::set<std::string> seen;  // A model's notes stand at each of its versions.
  for (const v1::ModelVersion& model : response.models()) {
    for (const std::string& note : model.notes()) {
      const std::string line = OneLine(absl::StrCat(model.name(), ": ", note));
      if (seen.insert(line).second) absl::StrAppend(&notes, line, "\n");
    }
  }
  return absl::StrCat(Columns(rows, ""), notes.empty() ? "" : "\nNotes:\n", notes);
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
                    absl::StrCat(executor.threads(), " threads, ", executor.rows_waiting(), " of ",
                                 executor.rows_waiting_max(), " rows waiting, ",
                                 executor.rows_run(), " rows run")});
  }
  return Columns(rows, "");
}

std::string ErrorLine(const absl::Status& status, const std::string& about) {
  return absl::StrCat("torchctl: ", absl::StatusCodeToString(status.code()), ": ", OneLine(about),
                      about.empty() ? "" : ": ", OneLine(status.message()), "\n");
}

std::string StateName(v1::VersionState state) {
  const std::string name = v1::VersionState_Name(state);
  return name.empty() ? "UNKNOWN" : std::string(absl::StripPrefix(name, "VERSION_STATE_"));
}

}  // namespace torchd
