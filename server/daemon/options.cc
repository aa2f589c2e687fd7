#include "server/daemon/options.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "server/base/thread_pool.h"
#include "server/daemon/plan_cache.h"
#include "server/execution/torch_runtime.h"

namespace torchd {
namespace {

constexpr int64_t kBuffersLeast = int64_t{64} << 20;

}  // namespace

Executors::Options ExecutorOptions(const ServerConfig& config) {
  Executors::Options options;
  options.device = "cpu";
  options.threads = config.cpu_executors;
  const int threads = ThreadsPerExecutor(config, Cores());
  // With fewer threads than cores others have a right to the rest, and another torchd would take
  // the same ones.
  const bool every_core = threads * config.cpu_executors == Cores();
  const auto next = std::make_shared<std::atomic<int>>(0);
  options.prepare_thread = [threads, every_core, next] {
    PrepareExecutorThread(threads);
    if (every_core) KeepTeamOnCores(threads, next->fetch_add(1));
  };
  options.prepare_guest = PrepareLoaderThread;
  return options;
}

WarmUpOptions WarmUpOptionsOf(const ServerConfig& config) {
  WarmUpOptions options;
  options.runs = config.warmup_runs;
  options.rows_per_batch_max = config.rows_per_batch_max;
  options.rows_waiting_max = config.rows_waiting_max;
  options.batches_max = std::chrono::milliseconds(config.warmup_ms_max);
  options.executor_wait_max = std::chrono::seconds(config.stuck_seconds);
  return options;
}

PrepQueue::Limits PreprocessLimits(const ServerConfig& config) {
  return {config.preprocess_threads > 0 ? config.preprocess_threads : Cores(),
          config.rows_waiting_max};
}

RpcServer::Options RpcOptions(const ServerConfig& config) {
  RpcServer::Options options;
  options.address = config.grpc_address;
  options.message_bytes_max = config.message_bytes_max;
  // As much again as the calls may hold, and a few messages where that is little.
  options.buffers_bytes_max = (int64_t{config.in_flight_mb_max} << 20) + kBuffersLeast +
                              int64_t{4} * config.message_bytes_max;
  return options;
}

HttpServer::Options HttpOptions(const ServerConfig& config) {
  HttpServer::Options options;
  options.address = config.http_address;
  options.body_bytes_max = config.message_bytes_max;
  options.bodies_bytes_max = int64_t{config.in_flight_mb_max} << 20;
  return options;
}

BodyLimits BodyLimitsOf(const ServerConfig& config) { return {config.message_bytes_max}; }

ImageLimits LimitsOf(const ServerConfig& config) {
  ImageLimits limits;
  limits.pixels_max = int64_t{config.image_megapixels_max} * 1'000'000;
  limits.decoded_bytes_max = int64_t{config.image_decoded_mb_max} << 20;
  limits.time_max = std::chrono::milliseconds(config.image_ms_max);
  return limits;
}

ScanOptions ScanOf(const ServerConfig& config) {
  ScanOptions options;
  options.model_name = config.model_name;
  return options;
}

ControlMode ModeOf(const ServerConfig& config) {
  if (config.model_control == "watch") return ControlMode::kWatch;
  if (config.model_control == "explicit") return ControlMode::kExplicit;
  return ControlMode::kFixed;
}

RepositorySource::Options SourceOptions(const ServerConfig& config) {
  return {config.model_repository, ScanOf(config), std::chrono::milliseconds(config.settle_ms)};
}

RepositoryControl::Options ControlOptions(const ServerConfig& config) {
  RepositoryControl::Options options;
  options.mode = ModeOf(config);
  options.state_file = config.state_file;
  return options;
}

ModelTrialLimits TrialLimitsOf(const ServerConfig& config) {
  return {config.trial_seconds_max, config.trial_memory_mb_max};
}

PlanSearch PlanSearchOf(const ServerConfig& config, Trials* trials, const Clock& clock) {
  const int threads = ThreadsPerExecutor(config, Cores());
  PlanSearch::TryPlans try_plans;
  if (trials != nullptr) {
    try_plans = [=, limits = TrialLimitsOf(config)](
                    const VersionFolder& folder, const std::vector<TeamedPlan>& plans,
                    std::chrono::milliseconds limit, const PlanSearch::Wanted& wanted) {
      return RunPlanTrial(*trials, folder, plans, threads, limits, limit, wanted);
    };
  }
  return PlanSearch({.budget = std::chrono::seconds(config.plan_seconds_max),
                     .fast_start = config.plan_default == "fast_start",
                     .threads = threads},
                    PlanCache(config.plan_cache, PlanMachine(threads, LibTorchVersion())),
                    std::move(try_plans), clock);
}

}  // namespace torchd
