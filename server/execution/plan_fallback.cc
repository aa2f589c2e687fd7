#include "server/execution/plan_fallback.h"

#include <utility>

namespace torchd {

std::string PlanFallback::reason() const {
  absl::MutexLock lock(&mutex_);
  return reason_;
}

void PlanFallback::Note(absl::string_view reason) {
  const std::string said(reason);
  {
    absl::MutexLock lock(&mutex_);
    if (count_ == 0) reason_ = said;  // Whoever sees the count finds the reason.
    if (count_.fetch_add(1) > 0) return;
  }
  if (tell_) tell_(plan_, said);
}

void PlanFallback::Tell(Model::PlanFailed tell) {
  tell_ = std::move(tell);
  if (failed() && tell_) tell_(plan_, reason());  // While it was loaded.
}

}  // namespace torchd
