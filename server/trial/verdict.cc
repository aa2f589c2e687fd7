#include "server/trial/verdict.h"

#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/trial/plain_text.h"
#include "server/trial/processes.h"

namespace torchd {
namespace {

constexpr size_t kMessageBytesMax = 16 << 10;  // Of an error: it ends in logs and answers.

absl::Status NotStarted(int error_number) {
  const std::string text = absl::StrCat("cannot start a trial: ", std::strerror(error_number));
  if (error_number == EAGAIN || error_number == ENOMEM) return absl::ResourceExhaustedError(text);
  return absl::InternalError(text);
}

// What the owner of the model can do about it, where the signal alone does not tell.
std::string Hint(int signal_number, const TrialLimits& limits) {
  switch (signal_number) {
    case SIGKILL:
      return "; the kernel does so when memory runs out";
    case SIGXFSZ:
      return absl::StrCat("; a trial may write files of ", limits.file_bytes_max, " bytes");
    case SIGABRT:
    case SIGSEGV:
    case SIGBUS:
      return absl::StrCat("; its memory limit is ", limits.memory_bytes_max, " bytes");
    default:
      return "";
  }
}

absl::Status CheckEnd(const TrialReport& report, const TrialLimits& limits) {
  if (report.late) {
    return absl::DeadlineExceededError(
        absl::StrCat("the trial took longer than ", limits.time_max.count(), " ms"));
  }
  const int status = report.wait_status;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  const std::string hint = WIFSIGNALED(status) ? Hint(WTERMSIG(status), limits) : "";
  return absl::InternalError(absl::StrCat("the trial process ", DescribeWaitStatus(status), hint));
}

absl::Status ReportedError(int64_t code, absl::string_view message) {
  if (code < 1 || code > static_cast<int64_t>(absl::StatusCode::kUnauthenticated)) {
    return absl::InternalError(absl::StrCat("the trial reported an unknown error code ", code));
  }
  return {static_cast<absl::StatusCode>(code), PlainText(message.substr(0, kMessageBytesMax))};
}

absl::StatusOr<std::string> ReadAnswer(std::string&& answer, AnswerHeader& header) {
  if (answer.empty()) return absl::InternalError("the trial process ended without an answer");
  if (answer.size() < sizeof header) {
    return absl::InternalError("the trial's answer is cut in its header");
  }
  std::memcpy(&header, answer.data(), sizeof header);
  if (header.magic != AnswerHeader::kMagic) {
    return absl::InternalError("the trial wrote something that is no answer");
  }
  answer.erase(0, sizeof header);
  if (answer.size() < header.bytes) {
    return absl::InternalError(
        absl::StrCat("the trial's answer is cut: ", answer.size(), " of ", header.bytes, " bytes"));
  }
  if (answer.size() > header.bytes) {
    return absl::InternalError("the trial wrote more than its answer");
  }
  if (header.code != 0) return ReportedError(header.code, answer);
  return absl::StatusOr<std::string>(std::move(answer));
}

}  // namespace

absl::StatusOr<TrialAnswer> JudgeTrial(const TrialReport& report, std::string answer,
                                       const TrialLimits& limits) {
  if (report.kind != TrialReport::Kind::kEnded) return NotStarted(report.error_number);
  TORCHD_RETURN_IF_ERROR(CheckEnd(report, limits));
  TrialAnswer result;
  AnswerHeader header;
  TORCHD_ASSIGN_OR_RETURN(result.payload, ReadAnswer(std::move(answer), header));
  result.memory_peak_bytes =
      std::clamp<int64_t>(header.memory_peak_bytes, 0, report.resident_peak_bytes);
  result.memory_bytes = std::clamp<int64_t>(header.memory_bytes, 0, result.memory_peak_bytes);
  result.took = std::chrono::nanoseconds(report.took_nanoseconds);
  return result;
}

}  // namespace torchd
