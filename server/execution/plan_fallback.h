// What is known of a plan that failed where the model as it was saved did not. Private to the
// folder `execution`.
//
// Thread-safety: all methods; Tell() before anyone else knows the model.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "server/config/plan.h"
#include "server/inference/model.h"

namespace torchd {

class PlanFallback {
 public:
  explicit PlanFallback(Plan plan) : plan_(plan) {}

  // By which the model runs now.
  Plan plan() const { return failed() ? Plan::kSaved : plan_; }
  bool failed() const { return count_ > 0; }
  int64_t count() const { return count_; }
  // Of the first time; empty before.
  std::string reason() const ABSL_LOCKS_EXCLUDED(mutex_);

  void Note(absl::string_view reason) ABSL_LOCKS_EXCLUDED(mutex_);

  // As Model::TellOfFailedPlan().
  void Tell(Model::PlanFailed tell) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const Plan plan_;
  Model::PlanFailed tell_;
  std::atomic<int64_t> count_{0};
  mutable absl::Mutex mutex_;
  std::string reason_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace torchd
