#include "server/batching/refusal.h"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace torchd {
namespace {

constexpr Duration kRetryLeast = std::chrono::milliseconds(1);
constexpr Duration kRetryMost = std::chrono::seconds(10);
constexpr char kWhy[] = "torchd/refusal";
constexpr char kRetryAfter[] = "torchd/retry_after_us";

std::optional<int64_t> NumberIn(const absl::Status& status, absl::string_view key) {
  const auto payload = status.GetPayload(key);
  int64_t number = 0;
  if (!payload || !absl::SimpleAtoi(std::string(*payload), &number)) return std::nullopt;
  return number;
}

}  // namespace

absl::Status Refused(Refusal why, absl::Status status) {
  status.SetPayload(kWhy, absl::Cord(absl::StrCat(static_cast<int>(why))));
  return status;
}

absl::Status Overloaded(Refusal why, absl::string_view message, Duration retry_after) {
  absl::Status status = Refused(why, absl::ResourceExhaustedError(message));
  status.SetPayload(
      kRetryAfter,
      absl::Cord(absl::StrCat(Microseconds(std::clamp(retry_after, kRetryLeast, kRetryMost)))));
  return status;
}

std::optional<Refusal> RefusalIn(const absl::Status& status) {
  const auto number = NumberIn(status, kWhy);
  if (!number) return std::nullopt;
  return static_cast<Refusal>(*number);
}

std::optional<Duration> RetryAfter(const absl::Status& status) {
  const auto number = NumberIn(status, kRetryAfter);
  if (!number) return std::nullopt;
  return std::chrono::microseconds(*number);
}

}  // namespace torchd
