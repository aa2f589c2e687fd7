#include "server/trial/nursery.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/trial/processes.h"
#include "server/trial/wire.h"

namespace torchd {
namespace {

constexpr int kExitMisused = 2;
constexpr int kBurialRoundsMax = 100;  // A fork bomb must not hold up the other trials for good.

struct RunningTrial {
  pid_t pid = 0;
  FileDescriptor control;
  Instant began;
  Instant deadline;
  bool killed = false;  // By us; its end is still to come.
  bool late = false;    // And because its time was over.
};

// A process group cannot have ended and another have taken its number: its leader is not reaped.
void KillGroup(pid_t leader) {
  kill(-leader, SIGKILL);
  kill(leader, SIGKILL);  // It may not have reached its setpgid() yet.
}

class Nursery {
 public:
  Nursery(int socket, const TrialFunction& trial, FileDescriptor child_signals)
      : socket_(socket), child_signals_(std::move(child_signals)), trial_(trial) {}

  void Serve() {
    while (true) {
      std::vector<pollfd> polled = {{socket_.get(), POLLIN, 0}, {child_signals_.get(), POLLIN, 0}};
      for (const RunningTrial& trial : trials_) {
        polled.push_back({trial.killed ? -1 : trial.control.get(), POLLIN, 0});
      }
      if (poll(polled.data(), polled.size(), Timeout()) < 0) continue;  // EINTR.
      // The daemon says nothing there but that it gave up.
      for (size_t i = 0; i < trials_.size(); ++i) {
        if (polled[2 + i].revents != 0) Kill(trials_[i]);
      }
      KillTheLate();
      if (polled[1].revents != 0) Reap();
      if (polled[0].revents != 0 && !StartNext()) break;
    }
    for (const RunningTrial& trial : trials_) KillGroup(trial.pid);
    trials_.clear();
    BuryOrphans();
  }

 private:
  int Timeout() const {
    Instant next = kNever;
    for (const RunningTrial& trial : trials_) {
      if (!trial.killed) next = std::min(next, trial.deadline);
    }
    return next == kNever ? -1 : PollTimeout(next, clock_.Now());
  }

  void KillTheLate() {
    for (RunningTrial& trial : trials_) {
      if (trial.killed || clock_.Now() < trial.deadline) continue;
      trial.late = true;
      Kill(trial);
    }
  }

  static void Kill(RunningTrial& trial) {
    trial.killed = true;
    KillGroup(trial.pid);
  }

  // False when the daemon is gone.
  bool StartNext() {
    absl::StatusOr<std::optional<TrialOrder>> order = ReceiveOrder(socket_.get());
    if (!order.ok())
      Log(Severity::kError, "trial helper ends", {{"reason", order.status().ToString()}});
    if (!order.ok() || !order->has_value()) return false;
    Start(**std::move(order));
    return true;
  }

  void Start(TrialOrder order) {
    // Before the fork: a trial that brings the nursery down is not tried a second time.
    if (!SendReport(order.control.get(), {.kind = TrialReport::Kind::kAccepted})) return;
    RunningTrial running;
    running.began = clock_.Now();
    running.deadline = running.began + order.limits.time_max;
    const pid_t nursery = getpid();
    running.pid = fork();
    if (running.pid == 0) RunTrialChild(order, nursery, trial_);
    if (running.pid < 0) {
      SendReport(order.control.get(),
                 {.kind = TrialReport::Kind::kNotStarted, .error_number = errno});
      return;
    }
    setpgid(running.pid, running.pid);  // The child does so too; whoever comes first.
    running.control = std::move(order.control);
    trials_.push_back(std::move(running));
  }

  void Reap() {
    signalfd_siginfo ignored{};
    while (read(child_signals_.get(), &ignored, sizeof ignored) > 0) {
    }
    std::vector<std::pair<FileDescriptor, TrialReport>> reports;
    for (auto trial = trials_.begin(); trial != trials_.end();) {
      if (!HasEnded(trial->pid)) {
        ++trial;
        continue;
      }
      TrialReport report = Bury(*trial);
      reports.emplace_back(std::move(trial->control), report);
      trial = trials_.erase(trial);
    }
    // Before the reports: once Run() returns, nothing of the trial is left.
    BuryOrphans();
    for (const auto& [control, report] : reports) SendReport(control.get(), report);
  }

  TrialReport Bury(const RunningTrial& trial) const {
    KillGroup(trial.pid);
    TrialReport report{.kind = TrialReport::Kind::kEnded};
    rusage usage{};
    wait4(trial.pid, &report.wait_status, 0, &usage);
    const Duration took = clock_.Now() - trial.began;
    const bool killed = WIFSIGNALED(report.wait_status) && WTERMSIG(report.wait_status) == SIGKILL;
    // By us, or by its own timer.
    report.late = trial.late || (killed && trial.began + took >= trial.deadline);
    report.resident_peak_bytes = int64_t{usage.ru_maxrss} * 1024;
    report.took_nanoseconds = std::chrono::nanoseconds(took).count();
    return report;
  }

  // Whatever is a child here and no trial was left behind by one. Those it leaves come next round.
  void BuryOrphans() {
    for (int round = 0; round < kBurialRoundsMax; ++round) {
      std::vector<pid_t> orphans = ChildProcesses();
      for (const RunningTrial& trial : trials_) {
        orphans.erase(std::remove(orphans.begin(), orphans.end(), trial.pid), orphans.end());
      }
      if (orphans.empty()) return;
      KillAndReap(orphans);
    }
  }

  const FileDescriptor socket_;
  const FileDescriptor child_signals_;
  const TrialFunction& trial_;
  const SteadyClock clock_;
  std::vector<RunningTrial> trials_;
};

// Who made the other end of the socket is also who started us, or this is not a nursery's start.
bool BindToParent(int socket) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) != 0) return false;
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  return getppid() == peer.pid;
}

// For the rest of the process's life; what of this a trial should not have it takes off itself.
FileDescriptor PrepareProcess() {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  // Rather a trial than the daemon when memory runs out. Inherited by the trials, which can no
  // longer write it: the next line makes root the owner of all files there.
  std::ofstream("/proc/self/oom_score_adj") << 1000;
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);  // A trial has no way to our memory and descriptors.
  for (const int ignored : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) signal(ignored, SIG_IGN);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  sigprocmask(SIG_SETMASK, &child, nullptr);
  return FileDescriptor(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK));
}

}  // namespace

std::optional<int> StartedAsNursery(int argc, const char* const* argv) {
  int socket = -1;
  if (argc != 3 || absl::string_view(argv[1]) != kNurseryFlag ||
      !absl::SimpleAtoi(argv[2], &socket)) {
    return std::nullopt;
  }
  return socket;
}

int ServeTrials(int socket, const TrialFunction& trial, const std::function<void()>& prepare) {
  if (!BindToParent(socket)) {
    Log(Severity::kError,
        "not started as a helper for trials: the socket does not lead to the parent");
    return kExitMisused;
  }
  FileDescriptor child_signals = PrepareProcess();
  prepare();
  Nursery(socket, trial, std::move(child_signals)).Serve();
  return 0;
}

}  // namespace torchd
