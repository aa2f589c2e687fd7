#include "server/classify/preparers.h"

#include <limits>
#include <optional>
#include <utility>

#include "server/base/log.h"
#include "server/base/status_macros.h"

namespace torchd {

Preparers::Preparers(PrepQueue::Limits limits, const Clock& clock)
    : clock_(clock),
      queue_(limits),
      threads_("prep", {limits.threads, std::numeric_limits<int>::max()}) {}

absl::Status Preparers::Submit(PrepTask&& task, const PrepQueue::Runs& runs) {
  absl::MutexLock lock(&mutex_);
  TORCHD_RETURN_IF_ERROR(queue_.Push(std::move(task), clock_.Now(), runs));
  TORCHD_CHECK(threads_.Submit([this] { PrepareNext(); }));
  return absl::OkStatus();
}

void Preparers::PrepareNext() {
  std::optional<PrepQueue::Begun> begun;
  {
    absl::MutexLock lock(&mutex_);
    begun = queue_.Pop(clock_.Now());
  }
  const Duration took = begun->task.prepare();
  absl::MutexLock lock(&mutex_);
  queue_.Finished(begun->key, took);
}

}  // namespace torchd
