// torchd: flags in, Daemon out; or `torchd bench`, which measures a file and ends.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "server/base/log.h"
#include "server/base/thread_pool.h"
#include "server/config/server_config.h"
#include "server/daemon/daemon.h"
#include "server/daemon/model_trial.h"
#include "server/offline/offline_bench.h"
#include "server/trial/nursery.h"

extern char** environ;

namespace {

using torchd::CommandLine;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr auto kTick = std::chrono::milliseconds(10);
// Between the end of the drain limit and the end of the process.
constexpr auto kDrainGrace = std::chrono::milliseconds(1000);

int Fail(const absl::Status& status) {
  std::string line(status.message());
  // One line, whatever a path brought along.
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < 0x20; }, '?');
  std::fprintf(stderr, "torchd: %s\n", line.c_str());
  return kExitUsage;
}

torchd::Severity SeverityOf(const std::string& level) {
  if (level == "debug") return torchd::Severity::kDebug;
  if (level == "warning") return torchd::Severity::kWarning;
  if (level == "error") return torchd::Severity::kError;
  return torchd::Severity::kInfo;
}

// Blocked before any thread starts, so that the signals reach sigwait() and nobody else.
sigset_t BlockSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  return stop;
}

int CheckConfig(const torchd::ServerConfig& config) {
  const absl::Status status = torchd::CheckServerConfig(config, torchd::Cores());
  if (!status.ok()) return Fail(status);
  std::puts("configuration ok");
  return 0;
}

// True when a signal came within `limit`.
bool SignalWithin(const sigset_t& stop, std::chrono::milliseconds limit) {
  const timespec time = {limit.count() / 1000, limit.count() % 1000 * 1'000'000};
  return sigtimedwait(&stop, nullptr, &time) > 0;
}

// Drains on a thread of its own: neither a model that never returns nor a load can hold the process
// beyond the limit or a second signal.
int Stop(const sigset_t& stop, const torchd::ServerConfig& config,
         std::unique_ptr<torchd::Daemon> daemon) {
  const auto end = std::chrono::steady_clock::now() + kDrainGrace +
                   std::chrono::milliseconds(config.drain_delay_ms) +
                   std::chrono::milliseconds(config.drain_limit_ms);
  std::atomic<bool> done{false};
  std::thread drainer([&] {
    daemon->Drain();
    daemon.reset();
    done = true;
  });
  while (!done) {
    const bool again = SignalWithin(stop, kTick);
    if (!again && std::chrono::steady_clock::now() < end) continue;
    if (done) break;
    torchd::Log(torchd::Severity::kWarning, "abandoned what is still running",
                {{"reason", again ? "second signal" : "drain limit"}});
    _exit(again ? 1 : 0);
  }
  drainer.join();
  return 0;
}

int Serve(const torchd::ServerConfig& config) {
  torchd::ConfigureLog(SeverityOf(config.log_level), config.log_format == "json"
                                                         ? torchd::LogFormat::kJson
                                                         : torchd::LogFormat::kText);
  // Debian's Abseil enters each lock into a graph behind one lock of the process, gRPC's as well:
  // six times the time of a lock. The unit tests keep that search for deadlocks.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const sigset_t stop = BlockSignals();
  auto daemon = torchd::Daemon::Start(config);
  if (!daemon.ok()) return Fail(daemon.status());
  while (!(*daemon)->loaded()) {
    if (SignalWithin(stop, kTick)) return Stop(stop, config, *std::move(daemon));
  }
  const absl::Status announced = (*daemon)->Announce();
  if (!announced.ok()) return Fail(announced);
  int signal_number = 0;
  sigwait(&stop, &signal_number);
  return Stop(stop, config, *std::move(daemon));
}

// A model that does not load or run is another matter than a command line that cannot be followed.
int Bench(const std::vector<std::string>& words) {
  torchd::ConfigureLog(torchd::Severity::kWarning, torchd::LogFormat::kText);
  const auto arguments = torchd::ParseOfflineArguments(words);
  if (!arguments.ok()) return Fail(arguments.status());
  if (arguments->help) {
    std::fputs(torchd::OfflineHelpText().c_str(), stdout);
    return 0;
  }
  const auto shown = torchd::RunOfflineBench(*arguments);
  if (!shown.ok()) {
    const int code = Fail(shown.status());
    const bool usage = absl::IsInvalidArgument(shown.status()) || absl::IsNotFound(shown.status());
    return usage ? code : kExitFailed;
  }
  std::fputs(shown->c_str(), stdout);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (const auto socket = torchd::StartedAsNursery(argc, argv)) {
    _exit(torchd::ServeTrials(*socket, torchd::TryModel, torchd::PrepareForTrials));
  }
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (!arguments.empty() && arguments[0] == "bench") {
    return Bench({arguments.begin() + 1, arguments.end()});
  }
  std::vector<std::string> environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    environment.emplace_back(*variable);
  }
  const auto command = torchd::ParseCommandLine(arguments, environment);
  if (!command.ok()) return Fail(command.status());
  switch (command->action) {
    case CommandLine::Action::kHelp:
      std::fputs(torchd::HelpText().c_str(), stdout);
      return 0;
    case CommandLine::Action::kVersion:
      std::puts("torchd " TORCHD_VERSION);
      return 0;
    case CommandLine::Action::kCheckConfig:
      return CheckConfig(command->config);
    case CommandLine::Action::kPrintConfig:
      std::fputs(torchd::PrintConfig(command->config).c_str(), stdout);
      return 0;
    case CommandLine::Action::kServe:
      return Serve(command->config);
  }
  return 0;
}
