#include "client/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace torchd {
namespace {

using std::chrono::seconds;

TEST(ProgressTest, SaysNothingOfSpeedBeforeTheFirst) {
  EXPECT_EQ(ProgressLine({.done = 0, .total = 10, .failed = 0, .elapsed = seconds(1)}),
            "[                              ] 0 of 10");
}

TEST(ProgressTest, SaysWhatIsLeft) {
  EXPECT_EQ(ProgressLine({.done = 50, .total = 100, .failed = 2, .elapsed = seconds(2)}),
            "[###############               ] 50 of 100, 2 failed, 25.0/s, 2 s left");
}

TEST(ProgressTest, SaysTheSpeedAtTheEnd) {
  EXPECT_EQ(ProgressLine({.done = 3, .total = 3, .failed = 0, .elapsed = seconds(2)}),
            "[##############################] 3 of 3, 1.5/s");
}

}  // namespace
}  // namespace torchd
