#include "server/daemon/warm_up.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/inference/trial_row.h"

namespace torchd {
namespace {

constexpr size_t kSettledRuns = 3;
constexpr Duration kNoise = std::chrono::microseconds(100);

}  // namespace

bool TimesSettled(absl::Span<const Duration> times) {
  if (times.size() < kSettledRuns) return false;
  const Duration fastest = *std::min_element(times.begin(), times.end());
  const Duration most = std::max(fastest + fastest / 4, fastest + kNoise);
  return std::all_of(times.end() - kSettledRuns, times.end(),
                     [most](Duration time) { return time <= most; });
}

absl::Status WarmUp(Model& model, Executors& executors, const Clock& clock, int runs) {
  std::vector<Duration> times;  // Of the slowest executor in each turn.
  auto enough = [&, least = static_cast<size_t>(runs), end = kNever]() mutable {
    if (times.size() < least) return false;
    if (end == kNever) end = clock.Now() + kSettlingMax;
    return least == 0 || TimesSettled(times) || clock.Now() >= end;
  };
  while (!enough()) {
    absl::Mutex mutex;
    absl::Status first_error;
    Duration slowest{0};
    executors.RunOnEach([&] {
      const Instant start = clock.Now();
      const auto ran = RunTrialRow(model);
      const Duration took = clock.Now() - start;
      absl::MutexLock lock(&mutex);
      slowest = std::max(slowest, took);
      first_error.Update(ran.status());
    });
    if (!first_error.ok()) {
      return absl::Status(first_error.code(), absl::StrCat("warming up: ", first_error.message()));
    }
    times.push_back(slowest);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Tensor>> RunTrialRow(Model& model, Executors& executors) {
  absl::Mutex mutex;
  absl::StatusOr<std::vector<Tensor>> answer = absl::InternalError("no executor");
  executors.RunOnEach([&] {
    auto ran = RunTrialRow(model);
    absl::MutexLock lock(&mutex);
    answer = std::move(ran);
  });
  return answer;
}

}  // namespace torchd
