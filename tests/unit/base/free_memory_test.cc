#include "server/base/free_memory.h"

#include "gtest/gtest.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

class FreeMemoryTest : public ::testing::Test {
 protected:
  FreeMemoryTest() { machine_.Write("proc/meminfo", "MemTotal: 64 kB\nMemAvailable:  9 kB\n"); }

  std::optional<int64_t> Free() const {
    return FreeMemory({machine_.Path("proc"), machine_.Path("groups")});
  }

  const TempFolder machine_;
};

TEST_F(FreeMemoryTest, WithoutAGroupTheMachineDecides) {
  EXPECT_EQ(Free(), 9 * 1024);
  machine_.Write("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(Free(), 9 * 1024);
  EXPECT_GT(FreeMemory().value_or(0), 0);
  EXPECT_EQ(FreeMemory({machine_.Path("none"), machine_.Path("none")}), std::nullopt);
}

TEST_F(FreeMemoryTest, TheTightestGroupDecides) {
  machine_.Write("proc/self/cgroup", "0::/outer/inner\n");
  machine_.Write("groups/outer/inner/memory.max", "max\n");
  machine_.Write("groups/outer/inner/memory.current", "100\n");
  EXPECT_EQ(Free(), 9 * 1024);
  machine_.Write("groups/outer/memory.max", "5000\n");
  machine_.Write("groups/outer/memory.current", "3000\n");
  EXPECT_EQ(Free(), 2000);
  machine_.Write("groups/outer/memory.stat", "anon 1\ninactive_file 700\n");
  EXPECT_EQ(Free(), 2700);
  machine_.Write("groups/outer/inner/memory.max", "50\n");
  EXPECT_EQ(Free(), 0);
}

// The path in the file is that of the host.
TEST_F(FreeMemoryTest, AContainerOfTheFirstVersionSeesItsGroupAtTheRoot) {
  machine_.Write("proc/self/cgroup", "7:cpu:/docker/12ab\n4:cpuset,memory:/docker/12ab\n");
  machine_.Write("groups/memory/memory.limit_in_bytes", "5000\n");
  machine_.Write("groups/memory/memory.usage_in_bytes", "4500\n");
  machine_.Write("groups/memory/memory.stat", "inactive_file 900\ntotal_inactive_file 20\n");
  EXPECT_EQ(Free(), 520);
}

}  // namespace
}  // namespace torchd
