#include "server/offline/offline_bench.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/types/span.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/base/thread_pool.h"
#include "server/execution/load_model.h"
#include "server/execution/torch_runtime.h"
#include "server/inference/model.h"
#include "server/inference/open_sizes.h"
#include "server/inference/top_k.h"
#include "server/inference/trial_row.h"
#include "server/measuring/measure.h"
#include "server/measuring/samples.h"
#include "server/offline/tensor_file.h"
#include "server/registry/repository.h"

namespace torchd {
namespace {

constexpr int kTopK = 5;
constexpr size_t kCurveShown = 10;

// Where the files beside the model lie: as in a repository if the folder is called as a version is.
VersionFolder FolderOf(const std::string& model_file) {
  const std::filesystem::path path = std::filesystem::absolute(model_file).lexically_normal();
  const std::filesystem::path folder = path.parent_path();
  const std::string name = folder.filename().string();
  const bool version = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
    return std::isdigit(c) != 0;
  });
  VersionFolder found;
  found.folder = folder.string();
  found.model_folder = (version ? folder.parent_path() : folder).string();
  (absl::EndsWith(model_file, ".pt2") ? found.package_file : found.model_file) = path.string();
  return found;
}

absl::StatusOr<std::vector<std::string>> ReadLabels(const std::string& path) {
  std::ifstream file(path);
  if (!file.is_open()) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::vector<std::string> labels;
  for (std::string line; std::getline(file, line);) {
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back())) != 0) {
      line.pop_back();
    }
    labels.push_back(line);
  }
  if (file.bad()) return absl::NotFoundError(absl::StrCat("cannot read ", path));  // A folder.
  return labels;
}

absl::StatusOr<std::vector<Tensor>> RandomRow(const OfflineArguments& arguments,
                                              const ModelConfig& config,
                                              std::vector<TensorSpec> inputs) {
  std::optional<int64_t> length;
  if (arguments.length > 0) length = arguments.length;
  TORCHD_RETURN_IF_ERROR(FillOpenSizes(arguments.model_file, config, length, inputs));
  TORCHD_RETURN_IF_ERROR(CheckRunBytes(arguments.batch, inputs));
  return VariedRow(TrialRow(inputs));
}

absl::StatusOr<std::vector<Tensor>> RowOf(const OfflineArguments& arguments,
                                          const ModelConfig& config,
                                          const std::vector<TensorSpec>& inputs) {
  if (arguments.inputs.empty()) return RandomRow(arguments, config, inputs);
  if (arguments.inputs.size() != inputs.size()) {
    return absl::InvalidArgumentError(absl::StrCat("got ", arguments.inputs.size(),
                                                   " times --input, the model takes ",
                                                   inputs.size(), ": ", InputsText(inputs)));
  }
  std::vector<Tensor> row;
  for (size_t i = 0; i < inputs.size(); ++i) {
    TORCHD_ASSIGN_OR_RETURN(row.emplace_back(), ReadTensorFile(arguments.inputs[i], inputs[i]));
  }
  return row;
}

std::string Ms(Duration time) { return absl::StrFormat("%.3f", Seconds(time) * 1000); }

std::string ClassesText(const std::vector<float>& scores, const std::vector<std::string>& labels,
                        Activation activation) {
  std::string text;
  const int k = std::min(kTopK, static_cast<int>(scores.size()));
  for (const ScoredClass& one : TopK(scores, {k, activation})) {
    const auto index = static_cast<size_t>(one.index);
    absl::StrAppend(&text,
                    activation != Activation::kNone ? absl::StrFormat("  %6.2f %%", one.score * 100)
                                                    : absl::StrFormat("  %8.4f", one.score),
                    "  ", index < labels.size() ? labels[index] : "(no label)", "  #", one.index,
                    "\n");
  }
  return text;
}

std::string TimesText(const Series& series, const OfflineArguments& arguments) {
  std::vector<Duration> sorted = series.times();
  std::sort(sorted.begin(), sorted.end());
  const TimeSummary times = Summarise(sorted);
  std::vector<std::string> curve;
  for (const Duration time : series.curve()) {
    if (curve.size() < kCurveShown) curve.push_back(Ms(time));
  }
  const double rows_per_second =
      static_cast<double>(arguments.batch) / std::max(Seconds(times.mean), 1e-9);
  return absl::StrCat("first runs, ms: ", absl::StrJoin(curve, " "), "\n", times.count,
                      " runs after ", arguments.warm_up, " of warm-up, ms: median ", Ms(times.p50),
                      " (", absl::StrFormat("%.1f", times.median.confidence * 100),
                      " % sure: ", Ms(times.median.low), " to ", Ms(times.median.high), "), p90 ",
                      Ms(times.p90), ", p95 ", Ms(times.p95), ", p99 ", Ms(times.p99), ", least ",
                      Ms(times.min), ", most ", Ms(times.max), ", mean ", Ms(times.mean),
                      ", standard deviation ", Ms(times.stddev), "\n",
                      absl::StrFormat("%.1f", rows_per_second), " rows/s\n");
}

std::string HeadText(const OfflineArguments& arguments, const Model& model,
                     const std::vector<Tensor>& row, int threads, Duration loading) {
  std::vector<std::string> inputs;
  const std::vector<TensorSpec>& specs = model.signature().inputs;
  for (size_t i = 0; i < row.size(); ++i) {
    inputs.push_back(absl::StrCat(specs[i].name, " ", Name(row[i].type), ShapeText(row[i].shape)));
  }
  const int used = model.threads() > 0 ? std::min(model.threads(), threads) : threads;
  return absl::StrCat(arguments.model_file, ", plan ", Name(model.plan()), ", ", used,
                      used == 1 ? " thread, " : " threads, ", arguments.batch,
                      arguments.batch == 1 ? " row of " : " rows of ", absl::StrJoin(inputs, ", "),
                      ", loaded in ", absl::StrFormat("%.1f", Seconds(loading)), " s\n");
}

// Of the first row.
std::vector<float> ScoresOf(const Tensor& scores) {
  const auto count = static_cast<size_t>(scores.shape.at(1));
  std::vector<float> values(count);
  if (count > 0) std::memcpy(values.data(), scores.bytes.data(), count * sizeof(float));
  return values;
}

absl::Status CheckPlan(const OfflineArguments& arguments) {
  const bool package = absl::EndsWith(arguments.model_file, ".pt2");
  if (!arguments.plan || (*arguments.plan == Plan::kPackage) == package) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("--plan ", Name(*arguments.plan), " is not for ",
                                                 package ? "a package" : "TorchScript"));
}

}  // namespace

absl::StatusOr<std::string> RunOfflineBench(const OfflineArguments& arguments) {
  TORCHD_RETURN_IF_ERROR(CheckPlan(arguments));
  const SteadyClock clock;
  const Instant begin = clock.Now();
  const int threads = arguments.threads > 0 ? static_cast<int>(arguments.threads) : Cores();
  PrepareTorchProcess();
  PrepareExecutorThread(threads);
  TORCHD_ASSIGN_OR_RETURN(VersionFiles files, ReadVersionFiles(FolderOf(arguments.model_file)));
  if (!arguments.labels_file.empty()) {
    TORCHD_ASSIGN_OR_RETURN(files.labels, ReadLabels(arguments.labels_file));
  }
  // A package is measured where it is the file that was named.
  const Plan said = files.config.plan.value_or(kDefaultPlan);
  const Plan plan = arguments.plan.value_or(said == Plan::kPackage ? kDefaultPlan : said);
  TORCHD_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                          LoadModel(arguments.model_file, files.config, plan));
  model->TellOfFailedPlan([](Plan failed, const std::string& reason) {
    Log(Severity::kError, "plan failed, model runs as saved",
        {{"plan", Name(failed)}, {"reason", reason}});
  });
  const Duration loading = clock.Now() - begin;
  TORCHD_ASSIGN_OR_RETURN(const std::vector<Tensor> row,
                          RowOf(arguments, files.config, model->signature().inputs));
  const RowInputs views = ViewsOf(row);
  const std::vector<const RowInputs*> rows(static_cast<size_t>(arguments.batch), &views);
  std::vector<Tensor> outputs;
  const std::vector<Candidate> candidates = {{.run = [&] {
    outputs.clear();
    return model->Run(absl::MakeConstSpan(rows), outputs);
  }}};
  const SeriesLimits limits = {.warm_up = arguments.warm_up,
                               .repeats_min = arguments.repeats,
                               .repeats_max = arguments.repeats};
  TORCHD_ASSIGN_OR_RETURN(const std::vector<Series> measured,
                          MeasureInTurns(candidates, limits, clock));
  return absl::StrCat(HeadText(arguments, *model, row, threads, loading),
                      ClassesText(ScoresOf(outputs.at(0)), files.labels, files.config.activation),
                      TimesText(measured.front(), arguments));
}

}  // namespace torchd
