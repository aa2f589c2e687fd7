#include "server/daemon/model_trial.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/base/scratch_folder.h"
#include "server/base/status_macros.h"
#include "server/daemon/plan_cache.h"
#include "server/execution/load_model.h"
#include "server/execution/plan_trial.h"
#include "server/execution/torch_runtime.h"
#include "server/inference/trial_row.h"
#include "server/registry/archive.h"
#include "server/trial/tensor_codec.h"

namespace torchd {
namespace {

constexpr int64_t kMebibyte = 1 << 20;
// A .pt2 unpacks itself into files; a .pt alone has no business to write any.
constexpr int64_t kPackageFileBytesMax = int64_t{16} << 30;
constexpr size_t kFields = 8;
constexpr char kSeparator = '\0';  // No path has one.
constexpr int kTimedRuns = 3;

// What the process on trial is to do.
struct Order {
  VersionFolder folder;
  std::vector<TeamedPlan> plans = {};  // None: the version's own trial.
  int threads = 1;
  std::chrono::milliseconds limit{0};  // Of the plans' trial.
};

std::string Encode(const Order& order) {
  const VersionFolder& folder = order.folder;
  const auto name = [](std::string* text, TeamedPlan plan) {
    absl::StrAppend(text, Name(plan.plan), ":", plan.threads);
  };
  return absl::StrJoin({absl::StrJoin(order.plans, " ", name), absl::StrCat(order.threads),
                        absl::StrCat(order.limit.count()), folder.repository, folder.model_folder,
                        folder.folder, folder.model_file, folder.package_file},
                       absl::string_view(&kSeparator, 1));
}

absl::StatusOr<Order> Decode(absl::string_view request) {
  std::vector<std::string> fields = absl::StrSplit(request, kSeparator);
  Order order;
  const auto odd = absl::InternalError("a trial's request is not as expected");
  if (fields.size() != kFields) return odd;
  for (const absl::string_view text : absl::StrSplit(fields[0], ' ', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(text, ':');
    const auto plan = PlanByName(parts.first);
    int threads = 0;
    if (!plan || !absl::SimpleAtoi(parts.second, &threads)) return odd;
    order.plans.emplace_back(*plan, threads);
  }
  if (!absl::SimpleAtoi(fields[1], &order.threads) || order.threads < 1) return odd;
  int64_t limit_ms = 0;
  if (!absl::SimpleAtoi(fields[2], &limit_ms) || limit_ms < 0) return odd;
  order.limit = std::chrono::milliseconds(limit_ms);
  VersionFolder& folder = order.folder;
  folder.repository = std::move(fields[3]);
  folder.model_folder = std::move(fields[4]);
  folder.folder = std::move(fields[5]);
  folder.model_file = std::move(fields[6]);
  folder.package_file = std::move(fields[7]);
  return order;
}

TrialLimits LimitsOf(const ModelTrialLimits& limits, std::chrono::milliseconds time_max) {
  TrialLimits trial_limits;
  trial_limits.time_max = time_max;
  trial_limits.memory_bytes_max = limits.memory_mb_max * kMebibyte;
  return trial_limits;
}

// The first runs compile; a model that takes long is not run for this alone.
absl::StatusOr<Duration> RunTime(Model& model) {
  constexpr Duration kShort = std::chrono::milliseconds(50);
  const SteadyClock clock;
  Duration least = Duration::max();
  for (int run = 0; run < kTimedRuns && least > Duration(0); ++run) {
    const Instant begin = clock.Now();
    TORCHD_RETURN_IF_ERROR(RunTrialRow(model).status());
    least = std::min(least, clock.Now() - begin);
    if (least > kShort) break;
  }
  return least;
}

absl::StatusOr<std::string> TryVersion(const VersionFolder& folder, const ModelConfig& config) {
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, LoadModel(folder.ModelFile(), config));
  TORCHD_ASSIGN_OR_RETURN(const std::vector<Tensor> outputs, RunTrialRow(*model));
  TORCHD_ASSIGN_OR_RETURN(const Duration run, RunTime(*model));
  if (!folder.model_file.empty() && !folder.package_file.empty()) {
    TORCHD_ASSIGN_OR_RETURN(
        std::unique_ptr<Model> packaged,
        LoadModel(folder.model_file, config, Plan::kPackage, folder.package_file));
    TORCHD_RETURN_IF_ERROR(RunTrialRow(*packaged).status());
    static_cast<void>(packaged.release());
  }
  const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(run).count();
  // Never destroyed: what this process takes while it answers is what the model takes.
  return absl::StrCat(nanoseconds, "\n", EncodeTensors(model.release()->signature(), outputs));
}

}  // namespace

absl::StatusOr<Trial> RunModelTrial(Trials& trials, const VersionFolder& folder,
                                    const ModelTrialLimits& limits) {
  const std::string path = folder.ModelFile();
  TORCHD_RETURN_IF_ERROR(CheckArchive(path));
  TrialLimits trial_limits = LimitsOf(limits, std::chrono::seconds(limits.seconds_max));
  const bool package = !folder.package_file.empty();
  trial_limits.file_bytes_max = package ? kPackageFileBytesMax : 0;
  auto answer = trials.Run(Encode({.folder = folder}), trial_limits);
  // No process of the trial is left, so what it unpacked is nobody's if it is still there.
  if (package && !answer.ok()) RemoveAbandonedScratch();
  TORCHD_RETURN_IF_ERROR(answer.status());
  const absl::string_view payload = answer->payload;
  const size_t line = std::min(payload.find('\n'), payload.size());
  int64_t nanoseconds = 0;
  const bool timed = absl::SimpleAtoi(payload.substr(0, line), &nanoseconds) && nanoseconds >= 0;
  auto decoded = DecodeTensors(timed ? payload.substr(line + 1) : "");
  if (!decoded.ok()) {
    return absl::InternalError(
        absl::StrCat("the trial's answer is damaged: ", decoded.status().message()));
  }
  return Trial{std::move(decoded->tensors), answer->memory_bytes, answer->memory_peak_bytes,
               std::chrono::nanoseconds(nanoseconds)};
}

absl::StatusOr<std::vector<PlanCandidate>> RunPlanTrial(Trials& trials, const VersionFolder& folder,
                                                        const std::vector<TeamedPlan>& plans,
                                                        int threads, const ModelTrialLimits& limits,
                                                        std::chrono::milliseconds limit,
                                                        const std::function<bool()>& wanted) {
  const bool package = std::count(plans.begin(), plans.end(), TeamedPlan(Plan::kPackage)) > 0;
  TrialLimits trial_limits = LimitsOf(limits, limit);
  trial_limits.file_bytes_max = package ? kPackageFileBytesMax : 0;
  const auto answer =
      trials.Run(Encode({.folder = folder, .plans = plans, .threads = threads, .limit = limit}),
                 trial_limits, wanted);
  if (package && !answer.ok()) RemoveAbandonedScratch();
  TORCHD_RETURN_IF_ERROR(answer.status());
  const std::vector<absl::string_view> lines = absl::StrSplit(answer->payload, '\n');
  std::vector<PlanCandidate> candidates;
  for (const absl::string_view line : lines) {
    auto candidate = DecodeCandidate(line);
    const size_t at = candidates.size();
    const bool expected = candidate && at <= plans.size() &&
                          TeamedPlan(candidate->plan, candidate->threads) ==
                              (at == 0 ? TeamedPlan(kDefaultPlan) : plans[at - 1]);
    if (!expected) break;
    candidates.push_back(*std::move(candidate));
  }
  if (candidates.size() == lines.size() && candidates.size() == plans.size() + 1) {
    return candidates;
  }
  return absl::InternalError("the answer of the plans' trial is damaged");
}

void PrepareForTrials() {
  PrepareTorchProcess();
  PrepareLoaderThread();
  RunFirstModel();
}

absl::StatusOr<std::string> TryModel(absl::string_view request) {
  TORCHD_ASSIGN_OR_RETURN(const Order order, Decode(request));
  TORCHD_ASSIGN_OR_RETURN(const VersionFiles files, ReadVersionFiles(order.folder));
  if (order.plans.empty()) return TryVersion(order.folder, files.config);
  PrepareExecutorThread(order.threads);
  TORCHD_ASSIGN_OR_RETURN(const std::vector<PlanCandidate> candidates,
                          TryPlans({order.folder.ModelFile(), order.folder.package_file},
                                   files.config, order.plans, order.limit));
  return absl::StrJoin(candidates, "\n", [](std::string* text, const PlanCandidate& candidate) {
    *text += EncodeCandidate(candidate);
  });
}

}  // namespace torchd
