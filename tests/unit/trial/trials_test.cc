#include "server/trial/trials.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/trial/processes.h"
#include "tests/unit/fakes/temp_folder.h"
#include "tests/unit/trial/behaviours.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

long OpenFiles() { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); }

// Trials with limits for a test in a hurry. Nothing may be left when they are gone.
class TrialsTest : public ::testing::Test {
 protected:
  ~TrialsTest() override {
    trials_.reset();
    EXPECT_EQ(OpenFiles(), open_files_);
    EXPECT_EQ(ChildProcesses(), children_);
  }

  void Start(const Trials::Options& options = {}) {
    auto trials = Trials::Start(options);
    ASSERT_TRUE(trials.ok()) << trials.status();
    trials_ = *std::move(trials);
  }

  absl::StatusOr<TrialAnswer> Run(absl::string_view request, TrialLimits limits = {}) {
    if (trials_ == nullptr) Start();
    return trials_->Run(request, limits);
  }

  std::string Payload(absl::string_view request, TrialLimits limits = {}) {
    const auto answer = Run(request, limits);
    return answer.ok() ? answer->payload : answer.status().ToString();
  }

  absl::Status Error(absl::string_view request, TrialLimits limits = {}) {
    return Run(request, limits).status();
  }

  // The nursery must serve on, without a trial's process left, and must be the first one still.
  void ExpectUnharmed() {
    EXPECT_EQ(Payload("ok"), "fine");
    EXPECT_EQ(trials_->nurseries_started(), 1);
    const std::string pid = absl::StrCat(trials_->nursery_pid());
    EXPECT_EQ(ReadFile("/proc/" + pid + "/task/" + pid + "/children"), "");
  }

  const std::vector<pid_t> children_ = ChildProcesses();
  const long open_files_ = OpenFiles();
  std::unique_ptr<Trials> trials_;
};

TEST_F(TrialsTest, AnswerComesBack) {
  const auto thanks = Run("ok  thanks");
  ASSERT_TRUE(thanks.ok()) << thanks.status();
  EXPECT_EQ(thanks->payload, "fine thanks");
  EXPECT_GT(thanks->took, Duration::zero());
  ExpectUnharmed();
}

TEST_F(TrialsTest, AfterStopThereAreNone) {
  EXPECT_EQ(Payload("ok"), "fine");
  trials_->Stop();
  EXPECT_EQ(Error("ok").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(trials_->nurseries_started(), 1);
}

TEST_F(TrialsTest, ErrorComesBackAsItIs) {
  EXPECT_EQ(Error("error"), absl::NotFoundError("no such thing"));
  ExpectUnharmed();
}

TEST_F(TrialsTest, CrashesAreInternalErrorsThatNameTheSignal) {
  EXPECT_THAT(Error("segv").ToString(), StartsWith("INTERNAL: the trial process was killed by "
                                                   "SIGSEGV (Segmentation fault)"));
  EXPECT_THAT(Error("abort").ToString(), HasSubstr("was killed by SIGABRT (Aborted)"));
  EXPECT_THAT(Error("throw").ToString(), HasSubstr("was killed by SIGABRT (Aborted)"));
  ExpectUnharmed();
}

TEST_F(TrialsTest, ExitWithoutAnAnswerIsAnError) {
  EXPECT_EQ(Error("exit 3"), absl::InternalError("the trial process exited with code 3"));
  EXPECT_EQ(Error("exit 0"), absl::InternalError("the trial process ended without an answer"));
  EXPECT_THAT(Error("close").ToString(), HasSubstr("the trial process exited with code"));
  ExpectUnharmed();
}

TEST_F(TrialsTest, TimeIsLimitedWhateverTheTrialDoes) {
  const absl::Status late = absl::DeadlineExceededError("the trial took longer than 50 ms");
  for (const char* behaviour : {"loop", "sleep", "hang", "stop"}) {
    EXPECT_EQ(Error(behaviour, {.time_max = milliseconds(50)}), late) << behaviour;
  }
  ExpectUnharmed();
}

TEST_F(TrialsTest, ATrialThatNobodyWantsAnyMoreIsEnded) {
  Start();
  for (const char* behaviour : {"loop", "sleep", "hang", "stop"}) {
    int asked = 0;
    const auto answer = trials_->Run(behaviour, {}, [&] { return ++asked < 3; });
    EXPECT_EQ(answer.status().code(), absl::StatusCode::kCancelled) << behaviour;
    EXPECT_EQ(asked, 3);
  }
  EXPECT_EQ(trials_->Run("ok", {}, [] { return true; })->payload, "fine");
  ExpectUnharmed();
}

TEST_F(TrialsTest, WhatIsNoAnswerIsAnError) {
  EXPECT_EQ(Error("garbage").message(), "the trial wrote something that is no answer");
  EXPECT_EQ(Error("truncated").message(), "the trial's answer is cut: 10 of 100 bytes");
  ExpectUnharmed();
}

TEST_F(TrialsTest, ProcessesTheTrialLeavesBehindAreFoundAndKilled) {
  EXPECT_EQ(Payload("orphan"), "fine");
  ExpectUnharmed();
}

TEST_F(TrialsTest, TrialWritesNoFileUnlessAllowed) {
  const TempFolder folder;
  const std::string request = "write " + folder.Path("a");
  EXPECT_THAT(Error(request).ToString(), HasSubstr("was killed by SIGXFSZ"));
  EXPECT_EQ(ReadFile(folder.Path("a")), "");
  EXPECT_THAT(Error(request, {.file_bytes_max = 8 << 10}).ToString(), HasSubstr("8192 bytes"));
  EXPECT_EQ(Payload(request, {.file_bytes_max = 16 << 10}), "16 KiB written");
  ExpectUnharmed();
}

TEST_F(TrialsTest, OpenFilesAreLimited) {
  EXPECT_EQ(Payload("files", {.files_max = 64}), "60 Too many open files");  // 0 to 3 are taken.
}

TEST_F(TrialsTest, MemoryIsLimitedBeyondWhatTheNurseryHas) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer reserves its address space beforehand";
  constexpr int64_t kLimit = 256 << 20;
  EXPECT_EQ(Error("allocate", {.memory_bytes_max = kLimit}).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Payload("allocate", {.memory_bytes_max = 8 * kLimit}), "got it");
  EXPECT_EQ(Payload("touch 128", {.memory_bytes_max = kLimit}), "x");
  ExpectUnharmed();
}

// A trial of 40 MiB was counted with 9: what the nursery had of the libraries was taken off it.
TEST_F(TrialsTest, MemoryThatIsHeldIsMeasured) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory counts as well";
  const auto answer = Run("hold 24");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_GE(answer->memory_bytes, 24 << 20);
  EXPECT_LE(answer->memory_bytes, 26 << 20);
}

TEST_F(TrialsTest, PeakOfMemoryIsMeasured) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's own memory counts as well";
  const auto answer = Run("touch 64");
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_LE(answer->memory_bytes, 2 << 20);
  EXPECT_GE(answer->memory_peak_bytes, 60 << 20);
  EXPECT_LE(answer->memory_peak_bytes, 80 << 20);
}

TEST_F(TrialsTest, LongAnswersComeWhole) {
  const std::string payload = Payload("huge 20000000");
  EXPECT_EQ(payload.size(), 20'000'000);
  EXPECT_EQ(payload.find_first_not_of('h'), std::string::npos);
}

TEST_F(TrialsTest, AnswerBeyondTheLimitEndsTheTrial) {
  Start({.answer_bytes_max = 1 << 20});
  EXPECT_EQ(Payload(absl::StrCat("huge ", 1 << 20)).size(), 1 << 20);
  EXPECT_EQ(Error("huge 20000000"),
            absl::ResourceExhaustedError("the trial's answer is longer than 1048576 bytes"));
  ExpectUnharmed();
}

TEST_F(TrialsTest, LogOfATrialGoesNowhere) { EXPECT_EQ(Payload("log"), "logged"); }

TEST_F(TrialsTest, TrialFindsItselfConfined) {
  const std::string facts = Payload("facts", {.files_max = 64, .file_bytes_max = 4096});
  EXPECT_THAT(facts, HasSubstr("core=0/0 nofile=64/64 fsize=4096/4096 no_new_privs=1 dumpable=0 "
                               "leads_group=1 blocked=0 ignored=0 "
                               "log_to_null=1 "));
  EXPECT_THAT(facts, HasSubstr(absl::StrCat(
                         " nice=", std::min(19, getpriority(PRIO_PROCESS, 0) + 10), " ")));
  EXPECT_THAT(facts, HasSubstr(" open=0 1 2 3 "));
}

TEST_F(TrialsTest, EightTrialsRunSideBySide) {
  Start();
  const TempFolder folder;
  std::array<std::string, 8> payloads;
  std::vector<std::thread> threads;
  threads.reserve(payloads.size());
  for (std::string& payload : payloads) {
    threads.emplace_back([&, this] { payload = Payload("meet " + folder.path()); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(payloads, ::testing::Each("met"));
  ExpectUnharmed();
}

TEST_F(TrialsTest, RequestAndLimitsAreChecked) {
  EXPECT_EQ(Payload("ok " + std::string((64 << 10) - 3, 'x')).size(), (64 << 10) + 1);
  const auto code = [this](TrialLimits limits) { return Error("ok", limits).code(); };
  EXPECT_EQ(Error(std::string((64 << 10) + 1, 'x')).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.time_max = milliseconds(0)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.time_max = std::chrono::hours(25)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.memory_bytes_max = 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.files_max = 3}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({.file_bytes_max = -1}), absl::StatusCode::kInvalidArgument);
}

// A trial that tells its pid and waits, on a thread of its own.
class WaitingTrial {
 public:
  explicit WaitingTrial(Trials& trials)
      : thread_([this, &trials] {
          status_ = trials.Run("tell " + fifo_, {.time_max = milliseconds(20'000)}).status();
        }) {
    std::ifstream(fifo_) >> pid_;
  }
  ~WaitingTrial() {
    if (thread_.joinable()) thread_.join();
  }
  pid_t pid() const { return pid_; }
  absl::Status Join() {
    thread_.join();
    return status_;
  }

 private:
  static std::string MakeFifo(const TempFolder& folder) {
    mkfifo(folder.Path("fifo").c_str(), 0600);
    return folder.Path("fifo");
  }

  const TempFolder folder_;
  const std::string fifo_ = MakeFifo(folder_);
  pid_t pid_ = 0;
  absl::Status status_;
  std::thread thread_;
};

TEST_F(TrialsTest, MoreTrialsThanAllowedAreRefused) {
  Start({.side_by_side_max = 1});
  WaitingTrial waiting(*trials_);
  EXPECT_EQ(Error("ok"), absl::ResourceExhaustedError("already 1 trials side by side"));
  kill(waiting.pid(), SIGKILL);
  EXPECT_THAT(waiting.Join().ToString(), HasSubstr("killed by SIGKILL"));
  ExpectUnharmed();
}

TEST_F(TrialsTest, NurseryKilledInMidTrialIsReplacedForTheNext) {
  Start();
  WaitingTrial waiting(*trials_);
  kill(trials_->nursery_pid(), SIGKILL);
  EXPECT_EQ(waiting.Join(), absl::UnavailableError("the helper process died during the trial"));
  EXPECT_EQ(Payload("ok"), "fine");
  EXPECT_EQ(trials_->nurseries_started(), 2);
}

TEST_F(TrialsTest, NurseryThatDiedBetweenTrialsCostsNoTrial) {
  Start();
  for (int started = 2; started < 5; ++started) {
    kill(trials_->nursery_pid(), SIGKILL);
    EXPECT_EQ(Payload("ok"), "fine");
    EXPECT_EQ(trials_->nurseries_started(), started);
  }
}

TEST_F(TrialsTest, TrialThatKillsTheNurseryIsNotTriedAgain) {
  EXPECT_EQ(Error("signal_nursery 9").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(trials_->nurseries_started(), 1);
  EXPECT_EQ(Payload("ok"), "fine");
}

TEST_F(TrialsTest, WhatADeadNurseryLeavesIsBuried) {
  EXPECT_EQ(Error("desert").code(), absl::StatusCode::kUnavailable);
}

TEST_F(TrialsTest, StoppedNurseryIsReplaced) {
  Start({.start_max = milliseconds(1000)});
  kill(trials_->nursery_pid(), SIGSTOP);
  EXPECT_EQ(Payload("ok"), "fine");
  EXPECT_EQ(trials_->nurseries_started(), 2);
}

TEST_F(TrialsTest, NurseryStoppedByItsTrialIsReplaced) {
  Start({.report_wait_max = milliseconds(200)});
  EXPECT_EQ(Error(absl::StrCat("signal_nursery ", SIGSTOP), {.time_max = milliseconds(50)}),
            absl::DeadlineExceededError(
                "the trial took longer than 50 ms, and the helper process hung with it"));
  EXPECT_EQ(Payload("ok"), "fine");
  EXPECT_EQ(trials_->nurseries_started(), 2);
}

TEST_F(TrialsTest, NurseryHasItsOwnSessionAndIgnoresCtrlC) {
  Start();
  const pid_t nursery = trials_->nursery_pid();
  EXPECT_EQ(getsid(nursery), nursery);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) kill(nursery, number);
  ExpectUnharmed();
}

TEST_F(TrialsTest, WhatCannotBeExecutedFailsAtTheStart) {
  const auto trials = Trials::Start({.executable = "/nowhere/torchd"});
  EXPECT_EQ(trials.status(), absl::InternalError("cannot start /nowhere/torchd for trials: "
                                                 "No such file or directory"));
}

TEST_F(TrialsTest, ProgramThatIsNoNurseryIsNoticed) {
  const auto trials = Trials::Start({.executable = "/bin/true"});
  const absl::Status status = trials.ok() ? (*trials)->Run("ok", {}).status() : trials.status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
}

}  // namespace
}  // namespace torchd
