// torchd: flags in, Daemon out.

#include <signal.h>

#include <cstdio>
#include <string>
#include <vector>

#include "server/base/log.h"
#include "server/config/server_config.h"
#include "server/daemon/daemon.h"

extern char** environ;

namespace {

using torchd::CommandLine;

constexpr int kExitUsage = 2;

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "torchd: %s\n", std::string(status.message()).c_str());
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

int Serve(const torchd::ServerConfig& config) {
  torchd::ConfigureLog(SeverityOf(config.log_level), config.log_format == "json"
                                                         ? torchd::LogFormat::kJson
                                                         : torchd::LogFormat::kText);
  const sigset_t stop = BlockSignals();
  auto daemon = torchd::Daemon::Start(config);
  if (!daemon.ok()) return Fail(daemon.status());
  int signal_number = 0;
  sigwait(&stop, &signal_number);
  (*daemon)->Drain();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
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
      std::puts("configuration ok");
      return 0;
    case CommandLine::Action::kPrintConfig:
      std::fputs(torchd::PrintConfig(command->config).c_str(), stdout);
      return 0;
    case CommandLine::Action::kServe:
      return Serve(command->config);
  }
  return 0;
}
