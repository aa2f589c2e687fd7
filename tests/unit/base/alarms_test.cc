#include "server/base/alarms.h"

#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using ::testing::ElementsAre;

TEST(AlarmsTest, RingInTheOrderOfTheirTimes) {
  const SteadyClock clock;
  const Instant start = clock.Now();
  std::vector<int> rung;
  absl::Notification last;
  Alarms alarms(clock);
  alarms.Set(start + milliseconds(30), [&] {
    rung.push_back(3);
    last.Notify();
  });
  alarms.Set(start + milliseconds(10), [&] { rung.push_back(1); });
  alarms.Set(start + milliseconds(10), [&] { rung.push_back(2); });
  last.WaitForNotification();
  EXPECT_GE(clock.Now(), start + milliseconds(30));
  EXPECT_THAT(rung, ElementsAre(1, 2, 3));
}

TEST(AlarmsTest, AnEarlierOneOvertakesWhatIsWaitedFor) {
  const SteadyClock clock;
  Alarms alarms(clock);
  alarms.Set(clock.Now() + hours(1), [] { ADD_FAILURE(); });
  absl::Notification rung;
  alarms.Set(clock.Now() - milliseconds(1), [&] { rung.Notify(); });
  EXPECT_TRUE(rung.WaitForNotificationWithTimeout(absl::Seconds(30)));
}

TEST(AlarmsTest, CalledOffItDoesNotRingAndIsForgotten) {
  const SteadyClock clock;
  Alarms alarms(clock);
  auto held = std::make_shared<int>();
  const auto off = alarms.Set(clock.Now() + milliseconds(10), [held] { ADD_FAILURE(); });
  absl::Notification later;
  alarms.Set(clock.Now() + milliseconds(20), [&] { later.Notify(); });
  alarms.CallOff(off);
  EXPECT_EQ(held.use_count(), 1);
  later.WaitForNotification();
  alarms.CallOff(off);  // Once more is no mistake.
}

TEST(AlarmsTest, EndForgetsWhatHasNotRung) {
  const SteadyClock clock;
  auto held = std::make_shared<int>();
  {
    Alarms(clock).Set(clock.Now() + hours(1), [held] { ADD_FAILURE(); });
  }
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace torchd
