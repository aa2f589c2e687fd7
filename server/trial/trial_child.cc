#include "server/trial/trial_child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/base/thread_pool.h"
#include "server/trial/processes.h"

namespace torchd {
namespace {

constexpr int kExitNoAnswer = 70;  // The pipe is gone; nobody reads this but a person.
constexpr int kNice = 10;          // Live traffic comes first.
constexpr std::chrono::seconds kBackupDelay{1};

// The nursery ignores some signals and blocks others; a trial starts with none of this.
void ResetSignals() {
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

bool KeepOnlyAnswer(int answer) {
  // Out of the way of the standard ones, which the daemon may have been started without.
  answer = fcntl(answer, F_DUPFD, kAnswerDescriptor + 1);
  const int null = open("/dev/null", O_RDWR);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (dup2(null, standard) < 0) return false;
  }
  if (dup2(answer, kAnswerDescriptor) < 0) return false;
  closefrom(kAnswerDescriptor + 1);
  return true;
}

absl::Status Limit(const char* name, __rlimit_resource resource, int64_t value) {
  rlimit limit{};
  getrlimit(resource, &limit);
  limit.rlim_max = std::min<rlim_t>(limit.rlim_max, static_cast<rlim_t>(value));
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(resource, &limit) == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("cannot set ", name, ": ", std::strerror(errno)));
}

// The nursery ends a trial that is late. Should the nursery be stopped itself, this timer does:
// SIGKILL cannot be blocked.
absl::Status StartTimer(std::chrono::milliseconds time_max) {
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGKILL;
  timer_t timer{};
  itimerspec when{};
  when.it_value.tv_sec = (std::chrono::ceil<std::chrono::seconds>(time_max) + kBackupDelay).count();
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 &&
      timer_settime(timer, 0, &when, nullptr) == 0) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat("cannot set a timer: ", std::strerror(errno)));
}

absl::Status TakeLimitsOn(const TrialLimits& limits) {
  const int64_t seconds = (std::chrono::ceil<std::chrono::seconds>(limits.time_max)).count();
  // Counts the time of all threads; holds for processes that outlive the trial as well.
  const int64_t cpu_seconds = (seconds + 1) * Cores();
  const int64_t memory = OwnMemory().address_space_bytes + limits.memory_bytes_max;
  TORCHD_RETURN_IF_ERROR(Limit("RLIMIT_CORE", RLIMIT_CORE, 0));
  TORCHD_RETURN_IF_ERROR(Limit("RLIMIT_CPU", RLIMIT_CPU, cpu_seconds));
  TORCHD_RETURN_IF_ERROR(Limit("RLIMIT_NOFILE", RLIMIT_NOFILE, limits.files_max));
  TORCHD_RETURN_IF_ERROR(Limit("RLIMIT_FSIZE", RLIMIT_FSIZE, limits.file_bytes_max));
  TORCHD_RETURN_IF_ERROR(StartTimer(limits.time_max));
  setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + kNice);  // Not worth an error.
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
    return absl::InternalError(absl::StrCat("prctl: ", std::strerror(errno)));
  }
  return Limit("RLIMIT_AS", RLIMIT_AS, memory);
}

bool WriteAll(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = write(kAnswerDescriptor, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(wrote));
  }
  return true;
}

// `before`: what was inherited.
bool WriteAnswer(const absl::StatusOr<std::string>& result, const ProcessMemory& before) {
  const ProcessMemory now = OwnMemory();
  const absl::string_view bytes =
      result.ok() ? absl::string_view(*result) : result.status().message();
  AnswerHeader header;
  header.bytes = bytes.size();
  header.code = static_cast<int64_t>(result.status().code());
  header.memory_bytes = now.private_bytes - before.private_bytes;
  // At its peak it had read no more of the libraries than it has now.
  header.memory_peak_bytes =
      std::max(header.memory_bytes, now.peak_bytes - now.file_bytes - before.private_bytes);
  return WriteAll({reinterpret_cast<const char*>(&header), sizeof header}) && WriteAll(bytes);
}

absl::StatusOr<std::string> RunLimited(const TrialOrder& order, const TrialFunction& trial) {
  TORCHD_RETURN_IF_ERROR(TakeLimitsOn(order.limits));
  return trial(order.request);
}

}  // namespace

void RunTrialChild(const TrialOrder& order, pid_t nursery, const TrialFunction& trial) {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (getppid() != nursery) _exit(kExitNoAnswer);  // It died before the line above.
  setpgid(0, 0);  // A group of its own, which also keeps it from starting a session.
  ResetSignals();
  if (!KeepOnlyAnswer(order.answer.get())) _exit(kExitNoAnswer);
  const ProcessMemory before = OwnMemory();
  _exit(WriteAnswer(RunLimited(order, trial), before) ? 0 : kExitNoAnswer);
}

}  // namespace torchd
