#include "client/exit_code.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace torchd {
namespace {

TEST(ExitCodeTest, SaysWhetherAnotherTryMayHelp) {
  EXPECT_EQ(ExitCodeOf(absl::UnavailableError("")), kTryLater);
  EXPECT_EQ(ExitCodeOf(absl::ResourceExhaustedError("")), kTryLater);
  EXPECT_EQ(ExitCodeOf(absl::DeadlineExceededError("")), kTryLater);
  EXPECT_EQ(ExitCodeOf(absl::NotFoundError("")), kServerError);
  EXPECT_EQ(ExitCodeOf(absl::InvalidArgumentError("")), kServerError);
  EXPECT_EQ(ExitCodeOf(absl::InternalError("")), kServerError);
}

TEST(ExitCodeTest, TheWorstOfARunCounts) {
  const ExitCode from_good_to_bad[] = {kFine, kTryLater, kServerError, kUnreachable, kWrongUsage};
  for (int left = 0; left < 5; ++left) {
    for (int right = 0; right < 5; ++right) {
      EXPECT_EQ(Worse(from_good_to_bad[left], from_good_to_bad[right]),
                from_good_to_bad[std::max(left, right)]);
    }
  }
}

}  // namespace
}  // namespace torchd
