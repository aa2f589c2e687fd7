#include "server/rpc/call_facts.h"

#include <chrono>
#include <optional>

#include "server/classify/caller.h"

namespace torchd {
namespace {

constexpr char kClientKey[] = "torchd-client";

}  // namespace

Instant DeadlineOf(const grpc::CallbackServerContext& context, Instant now) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return kNever;
  const auto remaining = deadline - std::chrono::system_clock::now();
  if (remaining > std::chrono::hours(24 * 365)) return kNever;
  return now + std::chrono::duration_cast<Duration>(remaining);
}

uint64_t CallerOf(const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const auto named = metadata.find(kClientKey);
  if (named == metadata.end()) return ClientOf(context.peer(), std::nullopt);
  return ClientOf({}, absl::string_view(named->second.data(), named->second.size()));
}

void SetTimes(const grpc::CallbackServerContext& context, const v1::ClassifyRequest& request,
              Instant now, ClassifyCall& call) {
  call.arrival = now;
  call.deadline = DeadlineOf(context, now);
  if (request.timeout_ms() > 0) {
    call.answer_by = now + std::chrono::milliseconds(request.timeout_ms());
  }
}

}  // namespace torchd
