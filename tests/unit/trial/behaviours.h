// What trials of the tests do: good, broken and hostile. A request names one of these, and may go
// on after a space with an argument.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/trial/trial_child.h"
#include "server/trial/wire.h"

namespace torchd {

using Result = absl::StatusOr<std::string>;

inline void WaitForever() {
  while (true) pause();
}

inline void IgnoreAllSignals() {
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_IGN);
}

inline Result Spin() {
  volatile bool forever = true;
  while (forever) {
  }
  return "never";
}

// A process that escapes the trial's group and session and outlives it, the pipe in its hands.
inline void LeaveOrphan() {
  if (fork() != 0) return;
  setsid();
  if (fork() == 0) setsid();
  IgnoreAllSignals();
  WaitForever();
}

// One that stays in the session and outlives even the nursery.
inline void LeaveChild() {
  if (fork() != 0) return;
  setpgid(0, 0);
  IgnoreAllSignals();
  WaitForever();
}

inline void WriteRaw(absl::string_view bytes) {
  if (write(kAnswerDescriptor, bytes.data(), bytes.size()) < 0) _exit(99);
}

inline Result WriteTruncated() {
  AnswerHeader header;
  header.bytes = 100;
  WriteRaw({reinterpret_cast<const char*>(&header), sizeof header});
  WriteRaw("ten bytes.");
  _exit(0);
}

inline std::string StatusLine(absl::string_view key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, ":\t");
    if (parts.size() == 2 && parts[0] == key) return parts[1];
  }
  return "?";
}

inline std::string SoftAndHard(__rlimit_resource resource) {
  rlimit limit{};
  getrlimit(resource, &limit);
  return absl::StrCat(limit.rlim_cur, "/", limit.rlim_max);
}

// Of the signals that a program can set; glibc keeps two to itself, 32 and 33.
inline bool AnySignal(const std::string& mask) {
  return (std::stoull(mask, nullptr, 16) & ~0x180000000ULL) != 0;
}

// What the trial finds itself with.
inline Result Facts() {
  std::string open_files;
  for (int fd = 0; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) absl::StrAppend(&open_files, fd, " ");
  }
  struct stat null {};
  struct stat log {};
  stat("/dev/null", &null);
  fstat(STDERR_FILENO, &log);
  return absl::StrCat(
      "core=", SoftAndHard(RLIMIT_CORE), " nofile=", SoftAndHard(RLIMIT_NOFILE),
      " fsize=", SoftAndHard(RLIMIT_FSIZE),
      " no_new_privs=", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0),
      " dumpable=", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), " leads_group=", getpgrp() == getpid(),
      " blocked=", AnySignal(StatusLine("SigBlk")), " ignored=", AnySignal(StatusLine("SigIgn")),
      " log_to_null=", null.st_rdev == log.st_rdev, " nice=", getpriority(PRIO_PROCESS, 0),
      " open=", open_files);
}

// Comes back once `count` trials have come to the folder: they run at the same time.
inline Result Meet(const std::string& folder, int count) {
  std::ofstream(absl::StrCat(folder, "/", getpid()));
  while (std::distance(std::filesystem::directory_iterator(folder), {}) < count) usleep(1000);
  return "met";
}

// Tells the reader of a fifo its own pid and the nursery's; the fifo ends with this process.
inline Result Tell(const std::string& fifo) {
  const int fd = open(fifo.c_str(), O_WRONLY);
  const std::string pids = absl::StrCat(getpid(), " ", getppid(), "\n");
  if (write(fd, pids.data(), pids.size()) < 0) _exit(99);
  WaitForever();
  return "never";
}

inline Result Allocate() {
  void* volatile block = malloc(size_t{1} << 30);
  if (block == nullptr) return absl::ResourceExhaustedError("no memory");
  return "got it";
}

inline Result Touch(int megabytes) {
  const std::string block(static_cast<size_t>(megabytes) << 20, 'x');
  return block.substr(block.size() / 2, 1);
}

inline Result Hold(int megabytes) {
  new std::string(static_cast<size_t>(megabytes) << 20, 'x');
  return "held";
}

inline Result OpenManyFiles() {
  int opened = 0;
  while (open("/dev/null", O_RDONLY) >= 0) ++opened;
  return absl::StrCat(opened, " ", strerror(errno));
}

inline Result WriteFile(const std::string& path) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  for (int i = 0; i < 1024; ++i) {
    if (write(fd, "0123456789abcdef", 16) != 16) return absl::InternalError("write failed");
  }
  return "16 KiB written";
}

inline Result LogALot() {
  const std::string megabyte(1 << 20, 'x');
  for (int i = 0; i < 256; ++i) {
    if (write(STDERR_FILENO, megabyte.data(), megabyte.size()) < 0) return absl::InternalError("");
  }
  return "logged";
}

inline Result SignalNursery(const std::string& number) {
  kill(getppid(), atoi(number.c_str()));
  WaitForever();
  return "never";
}

using Behaviour = Result (*)(const std::string& argument);

inline const std::map<std::string, Behaviour>& Behaviours() {
  static const auto* all = new std::map<std::string, Behaviour>{
      {"ok", [](const std::string& argument) -> Result { return "fine" + argument; }},
      {"error", [](const std::string&) -> Result { return absl::NotFoundError("no such thing"); }},
      {"segv", [](const std::string&) -> Result { return raise(SIGSEGV), "alive"; }},
      {"abort", [](const std::string&) -> Result { abort(); }},
      {"exit", [](const std::string& code) -> Result { _exit(atoi(code.c_str())); }},
      {"throw", [](const std::string&) -> Result { throw std::bad_alloc(); }},
      {"loop", [](const std::string&) { return Spin(); }},
      {"sleep", [](const std::string&) -> Result { return WaitForever(), "awake"; }},
      {"hang", [](const std::string&) -> Result { return IgnoreAllSignals(), WaitForever(), ""; }},
      {"stop", [](const std::string&) -> Result { return raise(SIGSTOP), WaitForever(), ""; }},
      {"garbage", [](const std::string&) -> Result { return WriteRaw(std::string(99, 'g')), "x"; }},
      {"truncated", [](const std::string&) -> Result { return WriteTruncated(); }},
      {"orphan", [](const std::string&) -> Result { return LeaveOrphan(), "fine"; }},
      {"write", [](const std::string& path) { return WriteFile(path); }},
      {"files", [](const std::string&) { return OpenManyFiles(); }},
      {"huge",
       [](const std::string& bytes) -> Result { return std::string(atoi(bytes.c_str()), 'h'); }},
      {"close", [](const std::string&) -> Result { return closefrom(0), "unheard"; }},
      {"log", [](const std::string&) { return LogALot(); }},
      {"allocate", [](const std::string&) { return Allocate(); }},
      {"touch", [](const std::string& megabytes) { return Touch(atoi(megabytes.c_str())); }},
      {"hold", [](const std::string& megabytes) { return Hold(atoi(megabytes.c_str())); }},
      {"facts", [](const std::string&) { return Facts(); }},
      {"meet", [](const std::string& folder) { return Meet(folder, 8); }},
      {"tell", [](const std::string& fifo) { return Tell(fifo); }},
      {"signal_nursery", [](const std::string& number) { return SignalNursery(number); }},
      {"desert",
       [](const std::string&) { return LeaveChild(), SignalNursery(absl::StrCat(SIGKILL)); }},
  };
  return *all;
}

inline Result Behave(absl::string_view request) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(request, absl::MaxSplits(' ', 1));
  const auto behaviour = Behaviours().find(parts.first);
  if (behaviour == Behaviours().end()) return absl::InvalidArgumentError("no such behaviour");
  return behaviour->second(parts.second);
}

}  // namespace torchd
