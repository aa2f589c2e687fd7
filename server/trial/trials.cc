#include "server/trial/trials.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/clock.h"
#include "server/base/file_descriptor.h"
#include "server/base/status_macros.h"
#include "server/trial/verdict.h"
#include "server/trial/wire.h"

namespace torchd {
namespace {

constexpr std::chrono::hours kTimeMax{24};
constexpr int64_t kBytesMax = int64_t{1} << 46;
constexpr int kFilesMin = 16;
constexpr int kFilesMax = 1 << 20;
constexpr std::chrono::milliseconds kWantedEvery{100};

absl::Status CheckLimits(const TrialLimits& limits) {
  const auto within = [](int64_t value, int64_t least, int64_t most) {
    return least <= value && value <= most;
  };
  if (limits.time_max.count() < 1 || limits.time_max > kTimeMax ||
      !within(limits.memory_bytes_max, 1, kBytesMax) ||
      !within(limits.file_bytes_max, 0, kBytesMax) ||
      !within(limits.files_max, kFilesMin, kFilesMax)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a trial's limits are out of range: ", limits.time_max.count(), " ms, ",
                     limits.memory_bytes_max, " bytes of memory, ", limits.files_max, " files of ",
                     limits.file_bytes_max, " bytes"));
  }
  return absl::OkStatus();
}

absl::Status NoDescriptor() {
  return absl::ResourceExhaustedError(
      absl::StrCat("no descriptor for a trial: ", std::strerror(errno)));
}

// One trial as the daemon sees it: a socket with the nursery's reports, a pipe with the answer.
class Conversation {
 public:
  enum class End {
    kReported,  // `report` and `answer` tell the rest.
    kAnswerTooLong,
    kNotAccepted,  // The nursery died or hung before it took the order.
    kNurseryDied,
    kNurseryHung,
  };

  explicit Conversation(size_t answer_bytes_max)
      : bytes_max_(sizeof(AnswerHeader) + answer_bytes_max) {}

  absl::Status Open(int socket, absl::string_view request, const TrialLimits& limits,
                    Instant until) {
    std::array<int, 2> control{};
    std::array<int, 2> answer{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control.data()) != 0) {
      return NoDescriptor();
    }
    control_.Reset(control[0]);
    TrialOrder order{limits, std::string(request), FileDescriptor(control[1]), {}};
    if (pipe2(answer.data(), O_CLOEXEC) != 0) return NoDescriptor();
    answer_.Reset(answer[0]);
    order.answer.Reset(answer[1]);  // The trial's end blocks, ours does not.
    fcntl(answer_.get(), F_SETFL, O_NONBLOCK);
    return SendOrder(socket, order, until);
  }

  // `until`: for the nursery's first report; from then on it has `run_max`.
  End Wait(Instant until, Duration run_max, const std::function<bool()>& wanted) {
    bool accepted = false;
    while (true) {
      if (wanted && !cancelled_ && !wanted()) {
        cancelled_ = true;
        EndTrial();
      }
      const Instant now = clock_.Now();
      const bool asks = wanted && !cancelled_;
      const Instant wake = asks ? std::min(until, now + kWantedEvery) : until;
      std::array<pollfd, 2> polled = {{{control_.get(), POLLIN, 0}, {answer_.get(), POLLIN, 0}}};
      const int ready = poll(polled.data(), polled.size(), PollTimeout(wake, now));
      if (ready == 0 && clock_.Now() < until) continue;
      if (ready == 0) return accepted ? End::kNurseryHung : End::kNotAccepted;
      if (ready < 0) continue;  // EINTR.
      if (polled[1].revents != 0) ReadSome();
      if (polled[0].revents == 0) continue;
      const std::optional<TrialReport> report = ReceiveReport(control_.get());
      if (!report) return accepted ? End::kNurseryDied : End::kNotAccepted;
      if (report->kind == TrialReport::Kind::kAccepted) {
        accepted = true;
        until = clock_.Now() + run_max;
        continue;
      }
      report_ = *report;
      while (ReadSome()) {
      }
      return too_long_ ? End::kAnswerTooLong : End::kReported;
    }
  }

  const TrialReport& report() const { return report_; }
  bool cancelled() const { return cancelled_; }
  std::string TakeAnswer() { return std::move(bytes_); }

 private:
  // False when there is nothing to read now, or nothing any more.
  bool ReadSome() {
    if (!answer_.ok()) return false;
    std::array<char, size_t{64} << 10> chunk;
    const ssize_t got = read(answer_.get(), chunk.data(), chunk.size());
    if (got < 0) return errno == EINTR;
    if (got == 0) {
      answer_.Reset();
      return false;
    }
    bytes_.append(chunk.data(), static_cast<size_t>(got));
    if (bytes_.size() <= bytes_max_) return true;
    too_long_ = true;
    answer_.Reset();
    EndTrial();
    return false;
  }

  // The nursery kills the trial and reports its end.
  void EndTrial() const { shutdown(control_.get(), SHUT_WR); }

  const size_t bytes_max_;
  const SteadyClock clock_;
  FileDescriptor control_;
  FileDescriptor answer_;  // Invalid once it has ended.
  std::string bytes_;
  bool too_long_ = false;
  bool cancelled_ = false;
  TrialReport report_;
};

}  // namespace

Trials::Trials(const Options& options)
    : options_(options), keeper_(options.executable, options.name) {}

absl::StatusOr<std::unique_ptr<Trials>> Trials::Start(const Options& options) {
  auto trials = absl::WrapUnique(new Trials(options));
  TORCHD_RETURN_IF_ERROR(trials->keeper_.Connect(absl::FromChrono(options.start_max)).status());
  return trials;
}

bool Trials::Admit() {
  absl::MutexLock lock(&mutex_);
  if (running_ >= options_.side_by_side_max) return false;
  ++running_;
  return true;
}

void Trials::Leave() {
  absl::MutexLock lock(&mutex_);
  --running_;
}

absl::StatusOr<TrialAnswer> Trials::Run(absl::string_view request, const TrialLimits& limits,
                                        const std::function<bool()>& wanted) {
  if (request.size() > kTrialRequestBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a trial's request of ", request.size(),
                                                   " bytes, at most ", kTrialRequestBytesMax));
  }
  TORCHD_RETURN_IF_ERROR(CheckLimits(limits));
  if (!Admit()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("already ", options_.side_by_side_max, " trials side by side"));
  }
  const auto leave = absl::MakeCleanup([this] { Leave(); });
  return RunAdmitted(request, limits, wanted);
}

absl::StatusOr<TrialAnswer> Trials::RunAdmitted(absl::string_view request,
                                                const TrialLimits& limits,
                                                const std::function<bool()>& wanted) {
  constexpr int kAttempts = 2;  // The first may find a nursery that has just died.
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    TORCHD_ASSIGN_OR_RETURN(const NurseryKeeper::Connection nursery,
                            keeper_.Connect(absl::FromChrono(options_.start_max)));
    const Instant until = SteadyClock().Now() + options_.start_max;
    Conversation conversation(options_.answer_bytes_max);
    const absl::Status opened = conversation.Open(nursery.socket.get(), request, limits, until);
    if (!opened.ok() && !absl::IsUnavailable(opened)) return opened;
    const auto end =
        opened.ok() ? conversation.Wait(until, limits.time_max + options_.report_wait_max, wanted)
                    : Conversation::End::kNotAccepted;
    switch (end) {
      case Conversation::End::kReported:
        if (conversation.cancelled()) {
          return absl::CancelledError("nobody wants the trial's answer any more");
        }
        return JudgeTrial(conversation.report(), conversation.TakeAnswer(), limits);
      case Conversation::End::kAnswerTooLong:
        return absl::ResourceExhaustedError(absl::StrCat("the trial's answer is longer than ",
                                                         options_.answer_bytes_max, " bytes"));
      case Conversation::End::kNurseryDied:
        keeper_.Discard(nursery.nursery);
        return absl::UnavailableError("the helper process died during the trial");
      case Conversation::End::kNurseryHung:
        keeper_.Discard(nursery.nursery);
        return absl::DeadlineExceededError(
            absl::StrCat("the trial took longer than ", limits.time_max.count(),
                         " ms, and the helper process hung with it"));
      case Conversation::End::kNotAccepted:
        keeper_.Discard(nursery.nursery);
    }
  }
  return absl::UnavailableError("the helper process for trials does not answer");
}

}  // namespace torchd
