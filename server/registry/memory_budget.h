// Memory that models may take together, reserved before it is taken.
//
// Thread-safety: all methods of MemoryBudget; a lease has one owner and may outlive its budget.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

namespace torchd {

class MemoryBudget {
 private:
  struct Account {
    explicit Account(int64_t most) : bytes_max(most) {}

    absl::Status Take(int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex);

    const int64_t bytes_max;
    absl::Mutex mutex;
    int64_t reserved ABSL_GUARDED_BY(mutex) = 0;
  };

 public:
  // Bytes that are reserved as long as it lives. Move-only.
  class Lease {
   public:
    Lease() = default;
    Lease(Lease&& other) noexcept
        : account_(std::move(other.account_)), bytes_(std::exchange(other.bytes_, 0)) {}
    Lease& operator=(Lease&& other) noexcept {
      std::swap(account_, other.account_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Lease();

    int64_t bytes() const { return bytes_; }

    // To what a closer look found. RESOURCE_EXHAUSTED leaves it as it was.
    absl::Status Resize(int64_t bytes);

   private:
    friend class MemoryBudget;
    Lease(std::shared_ptr<Account> account, int64_t bytes)
        : account_(std::move(account)), bytes_(bytes) {}

    std::shared_ptr<Account> account_;
    int64_t bytes_ = 0;
  };

  // `bytes_max` 0: no limit, but still counted.
  explicit MemoryBudget(int64_t bytes_max) : account_(std::make_shared<Account>(bytes_max)) {}

  // RESOURCE_EXHAUSTED saying what is asked, reserved and allowed.
  absl::StatusOr<Lease> Reserve(int64_t bytes);

  int64_t reserved() const;

 private:
  const std::shared_ptr<Account> account_;
};

}  // namespace torchd
