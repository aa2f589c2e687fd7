#include "server/trial/nursery_keeper.h"

#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/base/thread_pool.h"
#include "server/trial/nursery.h"
#include "server/trial/processes.h"

namespace torchd {
namespace {

constexpr int kNurserySocket = 3;  // In the nursery.

// posix_spawn's two descriptions of the process to be. Its calls fail only for want of memory.
class SpawnPlan {
 public:
  explicit SpawnPlan(int socket) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_adddup2(&actions_, socket, kNurserySocket);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDWR, 0);
    // A socket that listens would live on in the nursery and hold its port.
    posix_spawn_file_actions_addclosefrom_np(&actions_, kNurserySocket + 1);
    posix_spawnattr_init(&attributes_);
    sigset_t signals;
    sigemptyset(&signals);
    // Until the nursery ignores them; loading the libraries takes a second.
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
    posix_spawnattr_setsigmask(&attributes_, &signals);
    sigfillset(&signals);
    posix_spawnattr_setsigdefault(&attributes_, &signals);
    // Its own session: out of a terminal's reach, and the mark of all that descends from it.
    posix_spawnattr_setflags(&attributes_,
                             POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// Trials die with their nursery, but processes they started do not, and all have become children
// of this process. They are known by their session, whose number is taken while one of them lives.
void BuryStrays(pid_t nursery) {
  constexpr int kRoundsMax = 100;
  for (int round = 0; round < kRoundsMax; ++round) {
    std::vector<pid_t> strays = ChildProcesses();
    strays.erase(
        std::remove_if(strays.begin(), strays.end(),
                       [nursery](pid_t pid) { return pid == nursery || getsid(pid) != nursery; }),
        strays.end());
    if (strays.empty()) return;
    KillAndReap(strays);
  }
}

}  // namespace

NurseryKeeper::NurseryKeeper(std::string executable, std::string name)
    : executable_(std::move(executable)), name_(std::move(name)) {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  thread_ = std::thread([this] {
    NameThisThread("nursery");
    Keep();
  });
}

NurseryKeeper::~NurseryKeeper() {
  Stop();
  thread_.join();
}

void NurseryKeeper::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  KillCurrent();
}

absl::StatusOr<NurseryKeeper::Connection> NurseryKeeper::Connect(absl::Duration wait_max) {
  absl::MutexLock lock(&mutex_);
  if (!socket_.ok()) wanted_ = true;
  if (!mutex_.AwaitWithTimeout(absl::Condition(this, &NurseryKeeper::Settled), wait_max)) {
    return absl::UnavailableError("the helper process for trials does not start");
  }
  if (!socket_.ok()) {
    if (stopping_) return absl::UnavailableError("the server is shutting down");
    if (!start_.ok()) return start_;
    return absl::UnavailableError("the helper process for trials died when it started");
  }
  Connection connection{socket_.Duplicate(), started_};
  if (connection.socket.ok()) return connection;
  return absl::ResourceExhaustedError(
      absl::StrCat("no descriptor for a trial: ", std::strerror(errno)));
}

void NurseryKeeper::Discard(int64_t nursery) {
  absl::MutexLock lock(&mutex_);
  if (nursery == started_) KillCurrent();
}

int64_t NurseryKeeper::nurseries_started() const {
  absl::MutexLock lock(&mutex_);
  return started_;
}

pid_t NurseryKeeper::nursery_pid() const {
  absl::MutexLock lock(&mutex_);
  return pid_;
}

void NurseryKeeper::KillCurrent() {
  socket_.Reset();
  if (pid_ != 0) kill(pid_, SIGKILL);
}

void NurseryKeeper::Keep() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &NurseryKeeper::WantedOrStop));
      if (stopping_) return;
    }
    absl::StatusOr<Spawned> nursery = Spawn();
    if (nursery.ok()) {
      WatchUntilDeath(*std::move(nursery));
      continue;
    }
    absl::MutexLock lock(&mutex_);
    wanted_ = false;
    start_ = nursery.status();
  }
}

absl::StatusOr<NurseryKeeper::Spawned> NurseryKeeper::Spawn() const {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return absl::InternalError(absl::StrCat("no socket for trials: ", std::strerror(errno)));
  }
  Spawned nursery{0, FileDescriptor(ends[0])};
  const FileDescriptor far_end(ends[1]);
  const SpawnPlan plan(far_end.get());
  const std::string socket = absl::StrCat(kNurserySocket);
  // argv is not const for reasons of C alone.
  std::array<char*, 4> arguments = {const_cast<char*>(name_.c_str()),
                                    const_cast<char*>(kNurseryFlag),
                                    const_cast<char*>(socket.c_str()), nullptr};
  const int error = posix_spawn(&nursery.pid, executable_.c_str(), plan.actions(),
                                plan.attributes(), arguments.data(), environ);
  if (error == 0) return nursery;
  return absl::InternalError(
      absl::StrCat("cannot start ", executable_, " for trials: ", std::strerror(error)));
}

void NurseryKeeper::WatchUntilDeath(Spawned nursery) {
  {
    absl::MutexLock lock(&mutex_);
    wanted_ = false;
    start_ = absl::OkStatus();
    socket_ = std::move(nursery.socket);
    pid_ = nursery.pid;
    ++started_;
    if (stopping_) KillCurrent();
  }
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(nursery.pid), &info, WEXITED | WNOWAIT) != 0 &&
         errno == EINTR) {
  }
  bool expected = false;
  {
    absl::MutexLock lock(&mutex_);
    expected = stopping_;
    socket_.Reset();
    pid_ = 0;
  }
  BuryStrays(nursery.pid);
  int status = 0;
  waitpid(nursery.pid, &status, 0);
  if (expected) return;
  Log(Severity::kWarning, "the helper process for trials died; the next trial starts another",
      {{"pid", absl::StrCat(nursery.pid)}, {"cause", DescribeWaitStatus(status)}});
}

}  // namespace torchd
