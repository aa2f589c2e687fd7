#include "server/execution/executor_memory.h"

#include <ATen/ATen.h>

#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::Each;
using ::testing::Ge;

// On a thread of its own, for a thread that keeps memory once does so until its end.
class ExecutorMemoryTest : public ::testing::Test {
 protected:
  ExecutorMemoryTest() { InstallExecutorMemory(); }

  template <typename Body>
  static void OnAThreadThatKeeps(Body body) {
    std::thread([&] {
      KeepMemoryOfThisThread();
      body();
    }).join();
  }
};

TEST_F(ExecutorMemoryTest, WhatIsGivenBackIsTakenAgain) {
  OnAThreadThatKeeps([] {
    const void* first = at::empty({1000}).data_ptr();
    EXPECT_EQ(at::empty({1000}).data_ptr(), first);
    EXPECT_EQ(at::empty({990}).data_ptr(), first);  // Of one size class.
    EXPECT_NE(at::empty({100000}).data_ptr(), first);
  });
}

TEST_F(ExecutorMemoryTest, WhatARunTakesIsItsPeakBeyondWhatWasThere) {
  constexpr int64_t kMany = 4 << 20;
  const auto run = [] {
    const at::Tensor one = at::empty({kMany}, at::kByte);
    at::empty({kMany}, at::kByte);  // Given back before the next.
    at::empty({kMany / 2}, at::kByte);
  };
  OnAThreadThatKeeps([&] {
    const at::Tensor before = at::empty({3 * kMany}, at::kByte);
    for (int times = 0; times < 2; ++times) {
      const int64_t taken = MemoryTakenBy(run);
      EXPECT_GE(taken, 2 * kMany);
      EXPECT_LE(taken, 3 * kMany);
    }
    EXPECT_EQ(MemoryTakenBy([] {}), 0);
  });
  EXPECT_EQ(MemoryTakenBy(run), 0);  // Nobody keeps this thread's.
}

TEST_F(ExecutorMemoryTest, TwoInUseAtOnceAreNeverOne) {
  OnAThreadThatKeeps([] {
    std::minstd_rand random(7);
    std::vector<at::Tensor> live;
    for (int step = 0; step < 5000; ++step) {
      if (live.size() > 20) live.erase(live.begin() + random() % live.size());
      const int64_t bytes = 1 + random() % (step % 50 == 0 ? 3'000'000 : 5000);
      const auto value = static_cast<uint8_t>(live.size());
      live.push_back(at::full({bytes}, value, at::kByte));
      ASSERT_EQ(reinterpret_cast<uintptr_t>(live.back().data_ptr()) % 64, 0u);
      const at::Tensor& checked = live[random() % live.size()];
      const auto* bytes_of = static_cast<const uint8_t*>(checked.data_ptr());
      ASSERT_EQ(bytes_of[0], bytes_of[checked.numel() - 1]);
    }
  });
}

TEST_F(ExecutorMemoryTest, OtherThreadsMayGiveBack) {
  OnAThreadThatKeeps([] {
    at::Tensor taken = at::empty({1000});
    const void* const block = taken.data_ptr();
    std::thread([&] { taken.reset(); }).join();
    EXPECT_EQ(at::empty({1000}).data_ptr(), block);
  });
}

TEST_F(ExecutorMemoryTest, ABlockOutlivesItsThread) {
  at::Tensor survivor;
  OnAThreadThatKeeps([&] { survivor = at::ones({1000}); });
  EXPECT_EQ(survivor.sum().item<float>(), 1000);
  survivor.reset();
  EXPECT_EQ(KeptMemoryBytes(), 0u);
}

TEST_F(ExecutorMemoryTest, WhatIsUnusedGoesBack) {
  OnAThreadThatKeeps([] {
    at::empty({1 << 20});
    EXPECT_GE(KeptMemoryBytes(), size_t{4} << 20);
    EXPECT_EQ(ReleaseUnusedMemory(std::chrono::hours(1)), 0u);
    EXPECT_GE(ReleaseUnusedMemory(Duration(0)), size_t{4} << 20);
    EXPECT_EQ(KeptMemoryBytes(), 0u);
  });
}

TEST_F(ExecutorMemoryTest, EverNewSizesLeaveNoMoreThanSomeTimesTheMostInUse) {
  OnAThreadThatKeeps([] {
    constexpr int64_t kMost = 8 << 20;
    for (int64_t bytes = 4096; bytes <= kMost; bytes += bytes / 8) {
      at::empty({bytes}, at::kByte);
      ASSERT_LE(KeptMemoryBytes(), static_cast<size_t>(4 * (bytes + bytes / 4)));
    }
  });
}

TEST_F(ExecutorMemoryTest, OtherThreadsKeepNothing) {
  at::empty({1 << 20});
  EXPECT_EQ(KeptMemoryBytes(), 0u);
}

TEST_F(ExecutorMemoryTest, TensorsThatGrowKeepWhatTheyHold) {
  OnAThreadThatKeeps([] {
    at::Tensor grown = at::ones({100});
    grown.resize_({100000});
    const auto* values = grown.data_ptr<float>();
    EXPECT_THAT(std::vector<float>(values, values + 100), Each(Ge(1)));
  });
}

TEST_F(ExecutorMemoryTest, MoreThanThereIsIsOutOfMemory) {
  OnAThreadThatKeeps([] { EXPECT_THROW(at::empty({int64_t{1} << 50}), c10::OutOfMemoryError); });
}

}  // namespace
}  // namespace torchd
