// What daemon, nursery and trial say to each other. All three run the same executable (the nursery
// is started from /proc/self/exe), so plain structs travel as they are.
//
//   daemon -> nursery, one socket:         an order: TrialLimits and the request; with it two
//                                          descriptors, the far ends of the next two
//   nursery -> daemon, a socket per trial: TrialReport kAccepted, then kEnded or kNotStarted.
//                                          Trusted: the trial has no access to it.
//                                          When the daemon's end closes, the trial is killed.
//   trial -> daemon, a pipe per trial:     AnswerHeader and bytes. Anything may come here.
//
// Thread-safety: functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/base/file_descriptor.h"
#include "server/trial/trial.h"

namespace torchd {

struct TrialReport {
  enum class Kind : int32_t { kAccepted, kNotStarted, kEnded };

  Kind kind = Kind::kAccepted;
  int32_t error_number = 0;         // kNotStarted: why.
  int32_t wait_status = 0;          // kEnded, and all that follows.
  bool late = false;                // Killed because its time was over.
  int64_t resident_peak_bytes = 0;  // All of it, what is shared included.
  int64_t took_nanoseconds = 0;
};

struct AnswerHeader {
  static constexpr uint64_t kMagic = 0x6c61697274642132;

  uint64_t magic = kMagic;
  uint64_t bytes = 0;  // That follow: the payload, or the message of an error.
  int64_t code = 0;    // absl::StatusCode.
  int64_t memory_bytes = 0;
  int64_t memory_peak_bytes = 0;
};

struct TrialOrder {
  TrialLimits limits;
  std::string request;
  FileDescriptor control;  // The nursery's end.
  FileDescriptor answer;   // The trial's end.
};

// Waits until `deadline` for room in the socket. UNAVAILABLE when the nursery is gone or its
// socket stays full; RESOURCE_EXHAUSTED when the kernel has no descriptors left.
// Requires: a request of at most kTrialRequestBytesMax.
absl::Status SendOrder(int socket, const TrialOrder& order, Instant deadline);

// Waits. Empty when the daemon has closed the socket; INTERNAL for what SendOrder() never sends.
absl::StatusOr<std::optional<TrialOrder>> ReceiveOrder(int socket);

// False when nobody listens any more. Neither waits.
bool SendReport(int control, const TrialReport& report);
std::optional<TrialReport> ReceiveReport(int control);

// Milliseconds for poll(), rounded up, at least 0.
int PollTimeout(Instant until, Instant now);

}  // namespace torchd
