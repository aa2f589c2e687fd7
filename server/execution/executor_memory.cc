#include "server/execution/executor_memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <malloc.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace torchd {
namespace {

constexpr size_t kAlignment = 64;  // As LibTorch's own.
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kClasses = size_t{4} * 64;
// A thread keeps at most so many times what it ever had in use at once: runs of ever new shapes
// would leave blocks of every size.
constexpr size_t kKeptOfUsed = 3;
// The C library then gives back what is free, of all threads: not for little.
constexpr size_t kWorthATrim = size_t{64} << 20;

// Four sizes to each power of two: at most a fifth of a block is in vain.
struct SizeClass {
  explicit SizeClass(size_t bytes) {
    const size_t least = bytes < 4 * kAlignment ? 4 * kAlignment : bytes;
    const int power = std::bit_width(least - 1) - 1;  // 2^power < least, or as small.
    const size_t step = size_t{1} << (power - 2);
    size = (least + step - 1) / step * step;
    index = static_cast<size_t>(std::bit_width(size) - 1) * 4 +
            (size >> (std::bit_width(size) - 3) & 3);
  }
  size_t size = 0;
  size_t index = 0;
};

class Keeper;

// Before the bytes that LibTorch gets.
struct alignas(kAlignment) Block {
  Keeper* keeper;  // Null: nobody keeps it.
  Block* next;     // In the list of its keeper, newest first.
  Instant freed;
  size_t size;  // Without this header.
  size_t index;

  void* bytes() { return this + 1; }
  static Block& Of(void* bytes) { return *(static_cast<Block*>(bytes) - 1); }
};

// Null when there is none.
Block* TakeFromMachine(size_t size) {
  const size_t whole = size + sizeof(Block);
  const bool huge = whole >= kHugePage;
  const size_t alignment = huge ? kHugePage : kAlignment;
  void* memory = nullptr;
  int failed = posix_memalign(&memory, alignment, whole);
  if (failed != 0 && ReleaseUnusedMemory(Duration(0)) > 0) {
    failed = posix_memalign(&memory, alignment, whole);
  }
  if (failed != 0) return nullptr;
  if (huge) madvise(memory, whole / kHugePage * kHugePage, MADV_HUGEPAGE);
  auto* block = static_cast<Block*>(memory);
  block->keeper = nullptr;
  block->size = size;
  return block;
}

// What one thread keeps. Never destroyed: its blocks may outlive the thread.
class Keeper {
 public:
  // Null when there is none.
  Block* Take(const SizeClass& wanted) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      absl::MutexLock lock(&mutex_);
      used_bytes_ += wanted.size;
      used_most_ = std::max(used_most_, used_bytes_);
      peak_bytes_ = std::max(peak_bytes_, used_bytes_);
      if (Block* const kept = kept_[wanted.index]) {
        kept_[wanted.index] = kept->next;
        kept_bytes_ -= kept->size;
        return kept;
      }
    }
    Block* const block = TakeFromMachine(wanted.size);
    if (block == nullptr) {
      absl::MutexLock lock(&mutex_);
      used_bytes_ -= wanted.size;
      return nullptr;
    }
    block->keeper = this;
    block->index = wanted.index;
    return block;
  }

  void GiveBack(Block& block) ABSL_LOCKS_EXCLUDED(mutex_) {
    block.freed = std::chrono::steady_clock::now();
    bool too_much = false;
    {
      absl::MutexLock lock(&mutex_);
      used_bytes_ -= block.size;
      if (!ended_) {
        block.next = kept_[block.index];
        kept_[block.index] = &block;
        kept_bytes_ += block.size;
        too_much = kept_bytes_ > kKeptOfUsed * used_most_;
      }
      if (!ended_ && !too_much) return;
    }
    if (too_much) {
      Release(kNever);
    } else {
      std::free(&block);
    }
  }

  size_t Release(Instant before) ABSL_LOCKS_EXCLUDED(mutex_) {
    Block* old = Unlink(before);  // The thread need not wait for the machine.
    size_t released = 0;
    while (Block* const block = old) {
      old = block->next;
      released += block->size;
      std::free(block);
    }
    return released;
  }

  void End() {
    {
      absl::MutexLock lock(&mutex_);
      ended_ = true;
    }
    Release(kNever);
  }

  // What is used now; the next peak is counted from here.
  size_t BeginPeak() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    peak_bytes_ = used_bytes_;
    return used_bytes_;
  }

  size_t peak_bytes() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return peak_bytes_;
  }

  size_t kept_bytes() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return kept_bytes_;
  }

 private:
  // Lists run from what was freed last to what was freed first.
  Block* Unlink(Instant before) ABSL_LOCKS_EXCLUDED(mutex_) {
    Block* old = nullptr;
    absl::MutexLock lock(&mutex_);
    for (Block*& first : kept_) {
      Block** at = &first;
      while (*at != nullptr && (*at)->freed > before) at = &(*at)->next;
      while (Block* const block = *at) {
        *at = block->next;
        kept_bytes_ -= block->size;
        block->next = std::exchange(old, block);
      }
    }
    return old;
  }

  mutable absl::Mutex mutex_;
  std::array<Block*, kClasses> kept_ ABSL_GUARDED_BY(mutex_) = {};
  size_t kept_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t used_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t used_most_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t peak_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

class Keepers {
 public:
  // Never destroyed: tensors of static lifetime give their blocks back after it would be.
  static Keepers& OfProcess() {
    static auto* const keepers = new Keepers;
    return *keepers;
  }

  Keeper& Add() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return *all_.emplace_back(std::make_unique<Keeper>());
  }

  template <typename Each>
  void ForEach(Each each) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    for (const auto& keeper : all_) each(*keeper);
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Keeper>> all_ ABSL_GUARDED_BY(mutex_);
};

// Of the calling thread; ends with it.
struct OwnKeeper {
  ~OwnKeeper() {
    if (Keeper* const ended = std::exchange(keeper, nullptr)) ended->End();
  }
  Keeper* keeper = nullptr;
};
thread_local OwnKeeper t_own;

void Free(void* bytes) {
  if (bytes == nullptr) return;
  Block& block = Block::Of(bytes);
  if (block.keeper == nullptr) {
    std::free(&block);
  } else {
    block.keeper->GiveBack(block);
  }
}

class ExecutorMemory final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &Free, cpu};
    Keeper* const keeper = t_own.keeper;
    Block* const block =
        keeper == nullptr ? TakeFromMachine(bytes) : keeper->Take(SizeClass(bytes));
    TORCH_CHECK_WITH(OutOfMemoryError, block != nullptr, "cannot take ", bytes, " bytes of memory");
    return {block->bytes(), block->bytes(), &Free, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &Free; }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
};

}  // namespace

void InstallExecutorMemory() {
  static auto* const memory = new ExecutorMemory;
  constexpr uint8_t kPriority = 1;  // Over the default.
  c10::SetCPUAllocator(memory, kPriority);
}

void KeepMemoryOfThisThread() {
  if (t_own.keeper == nullptr) t_own.keeper = &Keepers::OfProcess().Add();
}

int64_t MemoryTakenBy(const std::function<void()>& run) {
  Keeper* const keeper = t_own.keeper;
  const size_t before = keeper == nullptr ? 0 : keeper->BeginPeak();
  run();
  return keeper == nullptr ? 0 : static_cast<int64_t>(keeper->peak_bytes() - before);
}

size_t ReleaseUnusedMemory(Duration unused) {
  const Instant before = std::chrono::steady_clock::now() - unused;
  size_t released = 0;
  Keepers::OfProcess().ForEach([&](Keeper& keeper) { released += keeper.Release(before); });
  if (released >= kWorthATrim) malloc_trim(0);
  return released;
}

size_t KeptMemoryBytes() {
  size_t kept = 0;
  Keepers::OfProcess().ForEach([&](Keeper& keeper) { kept += keeper.kept_bytes(); });
  return kept;
}

}  // namespace torchd
