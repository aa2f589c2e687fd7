#include "server/registry/memory_budget.h"

#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

int64_t Mebibytes(int64_t bytes) { return (bytes + (1 << 20) - 1) >> 20; }

}  // namespace

absl::Status MemoryBudget::Account::Take(int64_t bytes) {
  absl::MutexLock lock(&mutex);
  if (bytes > 0 && bytes_max > 0 && reserved + bytes > bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("needs ", Mebibytes(bytes), " MiB; models have ", Mebibytes(reserved),
                     " MiB of the ", Mebibytes(bytes_max), " MiB allowed (memory_mb_max)"));
  }
  reserved += bytes;
  return absl::OkStatus();
}

MemoryBudget::Lease::~Lease() {
  if (account_ != nullptr) account_->Take(-bytes_).IgnoreError();  // Giving back never fails.
}

absl::Status MemoryBudget::Lease::Resize(int64_t bytes) {
  if (account_ == nullptr) return absl::OkStatus();
  TORCHD_RETURN_IF_ERROR(account_->Take(bytes - bytes_));
  bytes_ = bytes;
  return absl::OkStatus();
}

absl::StatusOr<MemoryBudget::Lease> MemoryBudget::Reserve(int64_t bytes) {
  TORCHD_RETURN_IF_ERROR(account_->Take(bytes));
  return Lease(account_, bytes);
}

int64_t MemoryBudget::reserved() const {
  absl::MutexLock lock(&account_->mutex);
  return account_->reserved;
}

}  // namespace torchd
