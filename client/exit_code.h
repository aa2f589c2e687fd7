// What torchctl tells the shell; `torchctl --help` documents it. Scripts depend on the numbers.
#pragma once

#include "absl/status/status.h"

namespace torchd {

enum ExitCode {
  kFine = 0,
  kServerError = 1,  // The server answered an error that another try would meet again.
  kWrongUsage = 2,   // Nothing was asked, or not all: a flag, a file.
  kUnreachable = 3,  // No server answered.
  kTryLater = 4,     // Not ready, overloaded or out of time: another try may succeed.
};

// Of an answer other than OK, from a server that was reached.
inline ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kDeadlineExceeded:
      return kTryLater;
    default:
      return kServerError;
  }
}

// Of a run with several answers: who reads "try later" must know that it would help all of them.
inline ExitCode Worse(ExitCode left, ExitCode right) {
  constexpr int kRank[] = {0, 2, 4, 3, 1};  // By the code.
  return kRank[left] >= kRank[right] ? left : right;
}

}  // namespace torchd
