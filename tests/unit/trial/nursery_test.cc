// The nursery alone, and main(): this program is its own nursery.
#include "server/trial/nursery.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/trial/trials.h"
#include "tests/unit/fakes/temp_folder.h"
#include "tests/unit/trial/behaviours.h"

namespace torchd {
namespace {

constexpr char kDaemonFlag[] = "--as-daemon";

// This program again, with `fd` as its descriptor 3.
pid_t StartSelf(const char* flag, const char* argument, int fd) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, fd, 3);
  std::string name = "trial_test";
  std::string flag_text = flag;
  std::string argument_text = argument;
  std::array<char*, 4> argv = {name.data(), flag_text.data(), argument_text.data(), nullptr};
  pid_t pid = 0;
  EXPECT_EQ(posix_spawn(&pid, "/proc/self/exe", &actions, nullptr, argv.data(), environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  return pid;
}

int ExitCode(pid_t pid) {
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(NurseryTest, EndsWithItsSocket) {
  std::array<int, 2> ends{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  const pid_t nursery = StartSelf(kNurseryFlag, "3", ends[1]);
  close(ends[1]);
  close(ends[0]);
  EXPECT_EQ(ExitCode(nursery), 0);
}

TEST(NurseryTest, EndsAtAnOrderThatIsNone) {
  std::array<int, 2> ends{};
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  const pid_t nursery = StartSelf(kNurseryFlag, "3", ends[1]);
  close(ends[1]);
  EXPECT_EQ(send(ends[0], "nonsense", 8, 0), 8);
  EXPECT_EQ(ExitCode(nursery), 0);
  close(ends[0]);
}

TEST(NurseryTest, RefusesWhatIsNoSocketOfItsParent) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  EXPECT_EQ(ExitCode(StartSelf(kNurseryFlag, "3", null)), 2);
  close(null);
}

TEST(NurseryTest, IsRecognisedByItsArgumentsOnly) {
  const char* good[] = {"torchd-trial", "--serve-trials", "3"};
  const char* other[] = {"torchd", "--listen", "3"};
  const char* no_number[] = {"torchd", "--serve-trials", "x"};
  EXPECT_EQ(StartedAsNursery(3, good), 3);
  EXPECT_EQ(StartedAsNursery(2, good), std::nullopt);
  EXPECT_EQ(StartedAsNursery(3, other), std::nullopt);
  EXPECT_EQ(StartedAsNursery(3, no_number), std::nullopt);
}

// However the daemon dies, the nursery and its trials go with it.
TEST(NurseryTest, DiesWithTheDaemon) {
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);  // They become children of this process.
  const TempFolder folder;
  const std::string fifo = folder.Path("fifo");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const pid_t daemon = StartSelf(kDaemonFlag, fifo.c_str(), STDERR_FILENO);
  std::ifstream pids(fifo);
  pid_t trial = 0;
  pid_t nursery = 0;
  pids >> trial >> nursery;
  ASSERT_GT(nursery, 0);
  kill(daemon, SIGKILL);
  std::string rest;
  EXPECT_FALSE(pids >> rest);  // Comes back when the trial has ended.
  EXPECT_EQ(ExitCode(daemon), -1);
  const int end = ExitCode(nursery);
  EXPECT_TRUE(end == -1 || end == 0) << end;  // The kernel's signal, or the socket's end before it.
  waitpid(trial, nullptr, 0);
}

int BeDaemon(const std::string& fifo) {
  const auto trials = Trials::Start({});
  return trials.ok() && (*trials)->Run("tell " + fifo, {}).ok() ? 0 : 1;
}

}  // namespace
}  // namespace torchd

int main(int argc, char** argv) {
  if (const auto socket = torchd::StartedAsNursery(argc, argv)) {
    _exit(torchd::ServeTrials(*socket, torchd::Behave));
  }
  if (argc == 3 && std::string(argv[1]) == torchd::kDaemonFlag) return torchd::BeDaemon(argv[2]);
  ::testing::InitGoogleMock(&argc, argv);
  return RUN_ALL_TESTS();
}
