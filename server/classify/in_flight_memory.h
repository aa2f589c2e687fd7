// What the calls in the server may hold in memory together, and each client of it.
//
// Thread-safety: all methods. Outlives its leases.
#pragma once

#include <cstdint>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace torchd {

class InFlightMemory {
 public:
  // A call's part, given back on destruction. Move-only.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&&) = delete;
    ~Lease();

   private:
    friend class InFlightMemory;
    Lease(InFlightMemory* memory, uint64_t client, int64_t bytes)
        : memory_(memory), client_(client), bytes_(bytes) {}

    InFlightMemory* memory_ = nullptr;
    uint64_t client_ = 0;
    int64_t bytes_ = 0;
  };

  explicit InFlightMemory(int64_t bytes_max) : bytes_max_(bytes_max) {}

  // RESOURCE_EXHAUSTED when there is not so much left, or when a client that has calls in flight
  // would hold more than it leaves to others. A call alone is always let in.
  absl::StatusOr<Lease> Take(uint64_t client, int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

  int64_t bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Held {
    int64_t bytes = 0;
    int calls = 0;
  };

  void GiveBack(uint64_t client, int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

  const int64_t bytes_max_;
  mutable absl::Mutex mutex_;
  Held all_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, Held> clients_ ABSL_GUARDED_BY(mutex_);  // That have calls in flight.
};

}  // namespace torchd
