#include "server/config/triton_batching.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"

namespace torchd {
namespace {

constexpr int64_t kUint32Max = std::numeric_limits<uint32_t>::max();
constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();

// A number of which torchd honours `most` at most.
absl::Status TakeUpTo(const TextPlace& place, int64_t type_max, int most, absl::string_view what,
                      int& target) {
  int64_t value = 0;
  TORCHD_RETURN_IF_ERROR(TakeInteger(place, {0, type_max}, value));
  if (value > most) {
    place.not_honoured.Add(place.path, place.field.line,
                           absl::StrCat(value, "; ", what, " at most ", most));
  }
  target = static_cast<int>(std::min<int64_t>(value, most));
  return absl::OkStatus();
}

struct QueuePolicy {
  bool delays = false;     // What is late waits on, behind the others.
  int64_t timeout_us = 0;  // 0: none.
  int timeout_line = 0;
  int rows_waiting_max = 0;  // 0: no limit.
};

absl::Status TakeTimeoutAction(const TextPlace& place, QueuePolicy& policy) {
  using Entry = std::pair<absl::string_view, bool>;
  constexpr std::array<Entry, 2> kKnown = {Entry{"REJECT", false}, Entry{"DELAY", true}};
  TORCHD_RETURN_IF_ERROR(TakeOneOf(place, kKnown, policy.delays));
  if (policy.delays) {
    place.not_honoured.Add(place.path, place.field.line,
                           "DELAY; what is late is refused, so no default timeout is applied");
  }
  return absl::OkStatus();
}

constexpr TextRule<QueuePolicy> kQueuePolicyRules[] = {
    {"timeout_action", Often::kOnce, TakeTimeoutAction},
    {"default_timeout_microseconds", Often::kOnce,
     [](const TextPlace& place, QueuePolicy& policy) {
       policy.timeout_line = place.field.line;
       return TakeInteger(place, {0, kInt64Max}, policy.timeout_us);
     }},
    // Callers may always ask for less time, never for more: what `true` means, and torchd knows no
    // other way.
    {"allow_timeout_override", Often::kOnce,
     [](const TextPlace& place, QueuePolicy& /*policy*/) {
       bool allowed = false;
       return TakeBool(place, allowed);
     }},
    {"max_queue_size", Often::kOnce,
     [](const TextPlace& place, QueuePolicy& policy) {
       return TakeUpTo(place, kUint32Max, kRowsWaitingMax, "rows that wait are",
                       policy.rows_waiting_max);
     }},
};

absl::Status TakeQueuePolicy(const TextPlace& place, ModelConfig& model) {
  QueuePolicy policy;
  TORCHD_RETURN_IF_ERROR(
      TakeMessage(place, absl::Span<const TextRule<QueuePolicy>>(kQueuePolicyRules), policy));
  model.queue.rows_waiting_max = policy.rows_waiting_max;
  if (policy.delays || policy.timeout_us == 0) return absl::OkStatus();
  const int64_t timeout_ms = (policy.timeout_us - 1) / 1000 + 1;
  if (timeout_ms > kTimeoutMsMax) {
    place.not_honoured.Add(
        absl::StrCat(place.path, ".default_timeout_microseconds"), policy.timeout_line,
        absl::StrCat(policy.timeout_us, "; a request has at most ", kTimeoutMsMax, " ms"));
  }
  model.timeout_ms = static_cast<int>(std::min<int64_t>(timeout_ms, kTimeoutMsMax));
  return absl::OkStatus();
}

constexpr absl::string_view kThreePriorities =
    "every model has three priorities, which callers choose: high, normal, low";

constexpr TextRule<ModelConfig> kDynamicBatchingRules[] = {
    {"preferred_batch_size", Often::kRepeated, nullptr,
     "how many rows run together follows from what runs were measured to take"},
    {"max_queue_delay_microseconds", Often::kOnce,
     [](const TextPlace& place, ModelConfig& model) {
       return TakeUpTo(place, kInt64Max, kDelayUsMax, "microseconds of waiting for company are",
                       model.queue.delay_us_max);
     }},
    {"preserve_ordering", Often::kOnce, nullptr, "an answer leaves when it is ready"},
    {"priority_levels", Often::kOnce, nullptr, kThreePriorities},
    {"default_priority_level", Often::kOnce, nullptr, "a request that says none is normal"},
    {"default_queue_policy", Often::kOnce, TakeQueuePolicy},
    {"priority_queue_policy", Often::kRepeated, nullptr,
     "all priorities share one queue; see default_queue_policy"},
};

}  // namespace

absl::Status TakeDynamicBatching(const TextPlace& place, ModelConfig& model) {
  return TakeMessage(place, absl::Span<const TextRule<ModelConfig>>(kDynamicBatchingRules), model);
}

}  // namespace torchd
