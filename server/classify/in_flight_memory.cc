#include "server/classify/in_flight_memory.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/batching/refusal.h"
#include "server/classify/share.h"

namespace torchd {
namespace {

constexpr Duration kMemoryRetry = std::chrono::milliseconds(50);

}  // namespace

InFlightMemory::Lease::Lease(Lease&& other) noexcept
    : memory_(std::exchange(other.memory_, nullptr)),
      client_(other.client_),
      bytes_(other.bytes_) {}

InFlightMemory::Lease::~Lease() {
  if (memory_ != nullptr) memory_->GiveBack(client_, bytes_);
}

absl::StatusOr<InFlightMemory::Lease> InFlightMemory::Take(uint64_t client, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  const auto found = clients_.find(client);
  const int64_t own = found == clients_.end() ? 0 : found->second.bytes;
  const int64_t left = bytes_max_ - all_.bytes - bytes;
  if (all_.calls > 0 && left < 0) {
    return Overloaded(
        Refusal::kMemory,
        absl::StrCat("the requests in the server hold ", all_.bytes >> 20, " MiB, and this one ",
                     bytes >> 10, " KiB; in_flight_mb_max is ", bytes_max_ >> 20),
        kMemoryRetry);
  }
  if (own > 0 && LeavesTooLittle(own + bytes, left)) {
    return Overloaded(
        Refusal::kMemory,
        absl::StrCat("this client's requests hold ", own >> 10, " KiB, and this one ", bytes >> 10,
                     " KiB; that would leave too little for others, ", left >> 10,
                     " KiB of in_flight_mb_max, which is ", bytes_max_ >> 20),
        kMemoryRetry);
  }
  for (Held* held : {&all_, &clients_[client]}) {
    held->bytes += bytes;
    ++held->calls;
  }
  return Lease(this, client, bytes);
}

void InFlightMemory::GiveBack(uint64_t client, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  const auto found = clients_.find(client);
  for (Held* held : {&all_, &found->second}) {
    held->bytes -= bytes;
    --held->calls;
  }
  if (found->second.calls == 0) clients_.erase(found);
}

int64_t InFlightMemory::bytes() const {
  absl::MutexLock lock(&mutex_);
  return all_.bytes;
}

}  // namespace torchd
