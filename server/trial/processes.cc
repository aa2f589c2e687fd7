#include "server/trial/processes.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace torchd {

ProcessMemory OwnMemory() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0;
  int64_t resident_pages = 0;
  file >> pages >> resident_pages;
  const int64_t page_bytes = sysconf(_SC_PAGESIZE);
  return {pages * page_bytes, resident_pages * page_bytes};
}

std::vector<pid_t> ChildProcesses() {
  std::vector<pid_t> children;
  std::error_code error;
  std::filesystem::directory_iterator thread("/proc/self/task", error);
  while (!error && thread != std::filesystem::directory_iterator()) {
    std::ifstream file(thread->path() / "children");  // Gone when the thread has ended meanwhile.
    for (pid_t child = 0; file >> child;) children.push_back(child);
    thread.increment(error);
  }
  return children;
}

void KillAndReap(const std::vector<pid_t>& children) {
  for (const pid_t child : children) kill(child, SIGKILL);
  for (const pid_t child : children) {
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
}

bool HasEnded(pid_t child) {
  siginfo_t info{};
  const int result = waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT);
  return result == 0 && info.si_pid == child;
}

std::string DescribeWaitStatus(int wait_status) {
  if (!WIFSIGNALED(wait_status)) {
    return absl::StrCat("exited with code ", WEXITSTATUS(wait_status));
  }
  const int number = WTERMSIG(wait_status);
  const char* name = sigabbrev_np(number);
  if (name == nullptr) return absl::StrCat("was killed by signal ", number);
  return absl::StrCat("was killed by SIG", name, " (", sigdescr_np(number), ")");
}

}  // namespace torchd
