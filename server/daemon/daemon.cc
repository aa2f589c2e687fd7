#include "server/daemon/daemon.h"

#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "server/base/clock.h"
#include "server/base/free_memory.h"
#include "server/base/log.h"
#include "server/base/scratch_folder.h"
#include "server/base/status_macros.h"
#include "server/base/thread_pool.h"
#include "server/batching/executors.h"
#include "server/benchmark/benchmarks.h"
#include "server/classify/classifier.h"
#include "server/daemon/address_file.h"
#include "server/daemon/model_trial.h"
#include "server/daemon/options.h"
#include "server/daemon/other_plan.h"
#include "server/daemon/plan_search.h"
#include "server/daemon/warm_up.h"
#include "server/daemon/watcher.h"
#include "server/execution/executor_memory.h"
#include "server/execution/load_model.h"
#include "server/execution/torch_runtime.h"
#include "server/http/http_server.h"
#include "server/http/rest_service.h"
#include "server/metrics/server_metrics.h"
#include "server/registry/control.h"
#include "server/registry/registry.h"
#include "server/registry/repository_source.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/benchmark_service.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/rpc_server.h"
#include "server/trial/trials.h"

namespace torchd {
namespace {

constexpr auto kQuiet = std::chrono::milliseconds(150);
constexpr auto kRefusingMax = std::chrono::milliseconds(1000);
constexpr auto kAnswersPoll = std::chrono::milliseconds(2);
constexpr auto kCancellingMax = std::chrono::seconds(5);
// Loading yields to serving, as trials do.
constexpr int kLoaderNice = 10;
// What a run takes is kept for the next as long as that comes within this time.
constexpr auto kMemoryKept = std::chrono::seconds(60);

}  // namespace

// In the order of construction; destruction runs the other way round.
struct Daemon::Parts {
  Parts(const ServerConfig& settings, std::unique_ptr<Trials> made_trials)
      : config(settings),
        started(clock.Now()),
        trials(std::move(made_trials)),
        metrics({TORCHD_VERSION, LibTorchVersion()}),
        executors(ExecutorOptions(config), clock),
        plans(PlanSearchOf(config, trials.get(), clock)),
        registry(RegistryParts()),
        source(SourceOptions(config), registry, clock),
        control(ControlOptions(config), source, registry),
        preparers(PreprocessLimits(config), clock),
        classifier({registry, executors, preparers, metrics, clock,
                    int64_t{config.in_flight_mb_max} << 20}),
        benchmarks(BenchmarkParts()),
        inference_service(classifier, metrics, clock),
        benchmark_service(benchmarks),
        admin_service(
            registry, control, [this](auto& status) { FillStatus(status); },
            [this](const Lane& lane) { return executors.RowsWaiting(lane); }),
        rest({classifier, registry, metrics, clock, BodyLimitsOf(config), Sources()}) {
    metrics.AddExecutor("cpu", [this] { return executors.rows_waiting(); });
    metrics.SetModelStates([this] { return ModelStates(); });
  }

  Registry::Parts RegistryParts() {
    Registry::Parts parts;
    ArrivalParts& arrival = parts.arrival;
    arrival.prepare_thread = [] {
      PrepareLoaderThread();
      setpriority(PRIO_PROCESS, 0, kLoaderNice);  // Of this thread; not worth an error.
    };
    arrival.plan = [this](const VersionFolder& folder, const ModelConfig& model,
                          const Trial& trial) { return plans.Choose(folder, model, trial.run); };
    if (trials != nullptr) {
      arrival.trial = [this](const VersionFolder& folder) {
        return RunModelTrial(*trials, folder, TrialLimitsOf(config));
      };
      arrival.search = [this](const VersionFolder& folder, const ModelConfig& model,
                              const PlanChoice& choice, const std::function<bool()>& wanted) {
        return plans.SearchNow(folder, model, choice.key, wanted);
      };
    }
    arrival.load = [](const VersionFolder& folder, const ModelConfig& model, TeamedPlan plan) {
      return LoadModel(folder.ModelFile(), model, plan, folder.package_file);
    };
    arrival.warm_up = [this](Model& model, const ModelConfig& model_config) {
      return WarmUp(model, model_config, WarmUpOptionsOf(config), executors, clock);
    };
    arrival.run = [this](Model& model) {
      return RunTrialRow(model, executors, WarmUpOptionsOf(config).executor_wait_max);
    };
    arrival.image_limits = LimitsOf(config);
    arrival.executor_threads = ThreadsPerExecutor(config, Cores());
    parts.on_change = [this](const std::string& name, bool ready) {
      rpc->SetServing(name, ready && !stuck);
      if (announced && config.ready_when == "all_ready") SetServerServing();
    };
    parts.metrics = &metrics;
    parts.clock = &clock;
    parts.load_threads = config.load_threads;
    parts.memory_bytes_max = int64_t{config.memory_mb_max} << 20;
    parts.on_demand = ModeOf(config) == ControlMode::kExplicit;
    return parts;
  }

  Benchmarks::Parts BenchmarkParts() {
    const auto load = [this](const Servable& servable, Plan plan) {
      return LoadByPlan(servable, plan, trials.get(), ThreadsPerExecutor(config, Cores()),
                        TrialLimitsOf(config));
    };
    return {registry, executors, clock, load, config.benchmarks_max, MemoryTakenBy, [] {
              return FreeMemory();
            }};
  }

  // Their outcome matters no more, and they may take a minute.
  void EndTrials() {
    if (trials != nullptr) trials->Stop();
  }

  // A run that takes very long may never end; until it does, nobody else is served.
  void CheckStuck() {
    const Instant start = clock.Now() - std::chrono::seconds(config.stuck_seconds);
    const bool now = executors.BusySince(start) == config.cpu_executors || DevicePoisoned();
    if (now == stuck.exchange(now)) return;
    Log(now ? Severity::kError : Severity::kInfo, now ? "executors stuck" : "executors run again",
        {{"device", "cpu"},
         {"poisoned", DevicePoisoned() ? "true" : "false"},
         {"stuck_seconds", absl::StrCat(config.stuck_seconds)}});
    registry.TellAll();
    if (announced) SetServerServing();
  }

  // What is found out and the word of it are one step: two threads may come here at once.
  void SetServerServing() ABSL_LOCKS_EXCLUDED(serving_mutex) {
    absl::MutexLock lock(&serving_mutex);
    const bool serving = !stuck && (config.ready_when != "all_ready" || ModelsNotReady().empty());
    for (const char* service : {"", "torchd.v1.InferenceService"}) {
      rpc->SetServing(service, serving);
    }
  }

  // Of those that somebody wants.
  std::set<std::string> ModelsNotReady() const {
    std::set<std::string> names;
    std::set<std::string> ready;
    for (const VersionStatus& status : registry.Snapshot()) {
      if (status.wanted) names.insert(status.name);
      if (status.state == VersionState::kReady) ready.insert(status.name);
    }
    for (const std::string& name : ready) names.erase(name);
    return names;
  }

  Watcher::Options WatcherOptions() {
    Watcher::Options options;
    options.repository = config.model_repository;
    options.watch = ModeOf(config) == ControlMode::kWatch;
    options.poll_every = std::chrono::milliseconds(config.poll_ms);
    options.tick = [this] {
      CheckStuck();
      ReleaseUnusedMemory(kMemoryKept);
    };
    return options;
  }

  HttpSources Sources() {
    HttpSources sources;
    sources.readiness = [this] { return ReadinessOf(std::nullopt).value_or(Readiness{}); };
    sources.model_readiness = [this](const std::string& model) { return ReadinessOf(model); };
    sources.rows = [this] { return Rows(); };
    sources.collectables = {&metrics};
    return sources;
  }

  // Of one model: it has a version that answers. Of the whole: the repository is loaded and the
  // server is not draining; one broken model must not take the others out of rotation.
  std::optional<Readiness> ReadinessOf(const std::optional<std::string>& model) {
    Readiness readiness;
    bool known = !model.has_value();
    if (draining) readiness.reasons.emplace_back("the server is draining");
    if (DevicePoisoned()) {
      readiness.reasons.emplace_back("a device has failed; only a new process mends that");
    } else if (stuck) {
      readiness.reasons.push_back(absl::StrCat("every executor is busy with one run for over ",
                                               config.stuck_seconds, " s"));
    }
    if (!loaded && !model) readiness.reasons.emplace_back("the repository is being loaded");
    if (!model && config.ready_when == "all_ready") {
      for (const std::string& name : ModelsNotReady()) {
        readiness.reasons.push_back(absl::StrCat("model '", name, "' is not ready"));
      }
    }
    std::string last;
    for (const VersionStatus& status : registry.Snapshot()) {
      if (status.name == last || (model && status.name != *model)) continue;
      last = status.name;
      known = true;
      const auto found = registry.Lookup(status.name, {});
      if (!found.ok() && model) readiness.reasons.emplace_back(found.status().message());
    }
    if (!known) return std::nullopt;
    readiness.ready = readiness.reasons.empty();
    return readiness;
  }

  std::vector<StatusRow> Rows() {
    std::vector<StatusRow> rows;
    for (const VersionStatus& status : registry.Snapshot()) {
      rows.push_back({status.name, status.version, Name(status.state), status.reason});
    }
    return rows;
  }

  std::vector<ServerMetrics::ModelState> ModelStates() {
    std::vector<ServerMetrics::ModelState> states;
    for (const VersionStatus& status : registry.Snapshot()) {
      ServerMetrics::ModelState& state = states.emplace_back(
          ServerMetrics::ModelState{status.name, status.version, Name(status.state)});
      if (status.servable == nullptr) continue;
      state.plan = Name(status.servable->model->plan());
      state.plan_threads = status.servable->model->threads();
      state.plan_fallbacks = status.servable->model->fallbacks();
    }
    return states;
  }

  // A call that arrives while gRPC shuts down gets CANCELLED from it, which callers do not try
  // again. So they are told UNAVAILABLE first, until they have understood.
  void RefuseUntilQuiet() {
    inference_service.Refuse();
    rest.Refuse();
    const auto came = [this] { return inference_service.calls() + rest.calls(); };
    const Instant end = clock.Now() + kRefusingMax;
    int64_t before = -1;
    for (int64_t calls = 0; calls != before && clock.Now() < end;) {
      before = came();
      std::this_thread::sleep_for(kQuiet);
      calls = came();
    }
  }

  // Those still unanswered after `limit`.
  int64_t AwaitAnswers(Duration limit) const {
    const Instant end = clock.Now() + limit;
    const auto left = [this] {
      return inference_service.in_flight() + benchmark_service.in_flight() + rest.in_flight();
    };
    while (left() > 0 && clock.Now() < end) std::this_thread::sleep_for(kAnswersPoll);
    return left();
  }

  void FillStatus(v1::GetServerStatusResponse& status) {
    status.set_version(TORCHD_VERSION);
    status.set_libtorch_version(LibTorchVersion());
    status.set_uptime_ms(Microseconds(clock.Now() - started) / 1000);
    status.set_draining(draining);
    const ServerMetrics::Items items = metrics.items();
    status.set_items_ok(static_cast<int64_t>(items.ok));
    status.set_items_failed(static_cast<int64_t>(items.failed));
    v1::ExecutorStatus& executor = *status.add_executors();
    executor.set_name("cpu");
    executor.set_threads(ThreadsPerExecutor(config, Cores()) * config.cpu_executors);
    executor.set_rows_waiting(executors.rows_waiting());
    executor.set_rows_waiting_max(config.rows_waiting_max);
    executor.set_rows_running(executors.rows_running());
    executor.set_rows_run(executors.rows_run());
  }

  const ServerConfig config;
  const SteadyClock clock;
  const Instant started;
  std::atomic<bool> loaded{false};
  std::atomic<bool> announced{false};
  std::atomic<bool> stuck{false};
  std::atomic<bool> draining{false};
  absl::Mutex serving_mutex;

  const std::unique_ptr<Trials> trials;  // None: versions load untried.
  ServerMetrics metrics;
  Executors executors;
  PlanSearch plans;
  Registry registry;
  RepositorySource source;
  RepositoryControl control;
  Preparers preparers;
  Classifier classifier;
  Benchmarks benchmarks;
  InferenceService inference_service;
  BenchmarkService benchmark_service;
  AdminService admin_service;
  RestService rest;
  std::unique_ptr<RpcServer> rpc;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<Watcher> watcher;
};

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Start(const ServerConfig& config) {
  TORCHD_RETURN_IF_ERROR(CheckServerConfig(config, Cores()));
  TORCHD_ASSIGN_OR_RETURN(const RepositorySnapshot repository,
                          ScanRepository(config.model_repository, ScanOf(config)));
  if (!config.address_file.empty()) TORCHD_RETURN_IF_ERROR(PrepareAddressFile(config.address_file));
  RemoveAbandonedScratch();  // Of daemons that were killed.
  PrepareTorchProcess();
  std::unique_ptr<Trials> trials;  // Early: its process reads the libraries meanwhile.
  if (config.trial_seconds_max > 0) {
    TORCHD_ASSIGN_OR_RETURN(trials, Trials::Start({}));
  }
  RpcServer::PrepareProcess();
  auto parts = std::make_unique<Parts>(config, std::move(trials));
  TORCHD_ASSIGN_OR_RETURN(
      parts->rpc,
      RpcServer::Start(RpcOptions(config), {&parts->inference_service, &parts->benchmark_service,
                                            &parts->admin_service}));
  TORCHD_ASSIGN_OR_RETURN(parts->http, HttpServer::Start(HttpOptions(config), parts->rest));
  auto daemon = absl::WrapUnique(new Daemon(std::move(parts)));
  TORCHD_RETURN_IF_ERROR(daemon->parts_->control.Start(repository));
  TORCHD_ASSIGN_OR_RETURN(
      daemon->parts_->watcher,
      Watcher::Start(daemon->parts_->WatcherOptions(), repository, daemon->parts_->source,
                     daemon->parts_->registry, daemon->parts_->clock));
  return daemon;
}

bool Daemon::loaded() const {
  if (!parts_->loaded && parts_->registry.settled()) parts_->loaded = true;
  return parts_->loaded;
}

absl::Status Daemon::Announce() {
  parts_->SetServerServing();
  parts_->announced = true;
  const ServerConfig& config = parts_->config;
  if (!config.address_file.empty()) {
    TORCHD_RETURN_IF_ERROR(
        WriteAddressFile(config.address_file, {parts_->rpc->address(), parts_->http->address()}));
  }
  Log(Severity::kInfo, "serving",
      {{"grpc", parts_->rpc->address()},
       {"http", parts_->http->address()},
       {"repository", config.model_repository}});
  return absl::OkStatus();
}

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Daemon::~Daemon() {
  parts_->registry.StopLoading();
  parts_->watcher.reset();
  parts_->registry.Stop();  // While those it tells of changes are still there.
}

void Daemon::Drain() {
  const ServerConfig& config = parts_->config;
  parts_->draining = true;
  parts_->registry.StopLoading();
  parts_->EndTrials();
  parts_->benchmarks.Stop();
  parts_->rpc->SetNeverServing();
  if (!config.address_file.empty()) std::remove(config.address_file.c_str());
  Log(Severity::kInfo, "draining",
      {{"delay_ms", absl::StrCat(config.drain_delay_ms)},
       {"limit_ms", absl::StrCat(config.drain_limit_ms)}});
  std::this_thread::sleep_for(std::chrono::milliseconds(config.drain_delay_ms));
  parts_->RefuseUntilQuiet();
  const int64_t unanswered = parts_->AwaitAnswers(std::chrono::milliseconds(config.drain_limit_ms));
  parts_->rpc->CutConnections();
  parts_->rpc->Shutdown(kCancellingMax);
  Log(unanswered == 0 ? Severity::kInfo : Severity::kWarning, "drained",
      {{"unanswered", absl::StrCat(unanswered)}});
}

}  // namespace torchd
