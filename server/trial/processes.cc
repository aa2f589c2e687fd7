#include "server/trial/processes.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace torchd {

ProcessMemory OwnMemory() {
  ProcessMemory memory;
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(": \t"), absl::SkipEmpty());
    int64_t kibibytes = 0;
    if (words.size() != 3 || !absl::SimpleAtoi(words[1], &kibibytes)) continue;
    const int64_t bytes = kibibytes * 1024;
    if (words[0] == "VmSize") memory.address_space_bytes = bytes;
    if (words[0] == "RssAnon" || words[0] == "RssShmem") memory.private_bytes += bytes;
    if (words[0] == "RssFile") memory.file_bytes = bytes;
    if (words[0] == "VmHWM") memory.peak_bytes = bytes;
  }
  return memory;
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
