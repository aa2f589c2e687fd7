// Runs things that may crash, hang or lie, each in a process of its own with limits.
//
// Example:
//   TORCHD_ASSIGN_OR_RETURN(const auto trials, Trials::Start({}));
//   const auto answer = trials->Run(EncodeRequest(file, config), {.files_max = 64});
//   if (!answer.ok()) return answer.status();  // The daemon is unharmed.
//
// main() must first ask StartedAsNursery() (nursery.h): the helper is this executable again.
// Thread-safety: all methods; trials run side by side, each Run() on its caller's thread.
// Waits: at most `start_max`, the trial's own `time_max` and `report_wait_max`, in sum, twice at
// worst. What it cannot defend against: code in a trial that attacks other processes of this user.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/trial/nursery_keeper.h"
#include "server/trial/trial.h"

namespace torchd {

class Trials {
 public:
  struct Options {
    std::string executable = "/proc/self/exe";  // The same program even if its file was replaced.
    std::string name = "torchd-trial";          // Shown by ps.
    size_t answer_bytes_max = size_t{256} << 20;
    int side_by_side_max = 128;                   // Run() refuses beyond this.
    std::chrono::milliseconds start_max{60'000};  // For a nursery to load the libraries.
    // For news of a trial whose time is over; then the nursery is hung, killed and replaced.
    std::chrono::milliseconds report_wait_max{10'000};
  };

  // Starts the nursery and does not wait until it is ready. INTERNAL when it cannot be executed.
  static absl::StatusOr<std::unique_ptr<Trials>> Start(const Options& options);
  ~Trials() = default;  // Kills the nursery. Requires: no Run() in progress.

  // The trial's answer, or its own error as it is. Otherwise:
  // - INVALID_ARGUMENT: `request` is longer than kTrialRequestBytesMax, or a limit out of range.
  // - DEADLINE_EXCEEDED: it took longer than `time_max`.
  // - RESOURCE_EXHAUSTED: answer too long, too many trials, no processes or descriptors left.
  // - INTERNAL: it crashed, exited or wrote no proper answer.
  // - UNAVAILABLE: the nursery died under it (the next trial starts another) or does not start.
  // - CANCELLED: `wanted`, which is asked ten times a second, said no; empty: always wanted.
  // When it returns, no process of the trial is left; only where the nursery died or hung, the last
  // of them go a moment later.
  absl::StatusOr<TrialAnswer> Run(absl::string_view request, const TrialLimits& limits,
                                  const std::function<bool()>& wanted = {})
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Ends the trials that run; later ones are UNAVAILABLE.
  void Stop() { keeper_.Stop(); }

  int64_t nurseries_started() const { return keeper_.nurseries_started(); }
  pid_t nursery_pid() const { return keeper_.nursery_pid(); }  // 0: none lives.

 private:
  explicit Trials(const Options& options);
  bool Admit() ABSL_LOCKS_EXCLUDED(mutex_);
  void Leave() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<TrialAnswer> RunAdmitted(absl::string_view request, const TrialLimits& limits,
                                          const std::function<bool()>& wanted);

  const Options options_;
  NurseryKeeper keeper_;
  absl::Mutex mutex_;
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace torchd
