#include "server/batching/returns.h"

#include "gtest/gtest.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;

const ShapeClass kShape = {3};
constexpr milliseconds kWithin{10};
constexpr milliseconds kRun{60};  // Long enough for the whole of kWithin.

class ReturnsTest : public ::testing::Test {
 protected:
  void Ended(int rows, int waiting = 0, int back = 0, Duration took = kRun, int executors = 1) {
    returns_.Ended({kShape, rows, took, now_, waiting, back, executors});
  }

  // A run of `rows` ends every 100 ms, and so many come back.
  void Runs(int runs, int rows, int back, Duration after = milliseconds(1)) {
    for (int i = 0; i < runs; ++i) {
      now_ += milliseconds(100);
      Ended(rows);
      for (int row = 0; row < back; ++row) returns_.Came(kShape, now_ + after);
    }
  }

  int Expected() const { return returns_.Expected(kShape, now_); }

  Instant now_{std::chrono::hours(1)};
  Returns returns_{kWithin};
};

TEST_F(ReturnsTest, ExpectsNobodyAtFirst) {
  EXPECT_EQ(Expected(), 0);
  Ended(8, 3);
  EXPECT_EQ(Expected(), 0) << "nobody ever came back";
}

TEST_F(ReturnsTest, ExpectsThoseWhoCameBackBefore) {
  Runs(40, 8, 8);
  Ended(8, 3);
  EXPECT_EQ(Expected(), 11);
  EXPECT_EQ(returns_.Expected(kShape, now_ + kWithin), 11);
  EXPECT_EQ(returns_.Expected(kShape, now_ + kWithin + Duration(1)), 0);
  EXPECT_EQ(returns_.until(), now_ + kWithin);
}

TEST_F(ReturnsTest, ExpectsTheShareThatComesBack) {
  Runs(40, 8, 6);
  Ended(4, 0, 3);
  EXPECT_EQ(Expected(), 3);
}

TEST_F(ReturnsTest, DoesNotExpectThoseWhoSeldomComeBack) {
  Runs(40, 8, 3);
  EXPECT_EQ(Expected(), 0);
}

TEST_F(ReturnsTest, DoesNotExpectThoseWhoComeBackTooLate) {
  Runs(40, 8, 8, kWithin + milliseconds(1));
  EXPECT_EQ(Expected(), 0);
}

// Of independent rows as many come in a run's time as it answers.
TEST_F(ReturnsTest, WaitsAtMostAThirdOfARunOfOneExecutor) {
  Runs(40, 8, 8);
  Ended(8, 0, 8, milliseconds(6));
  EXPECT_EQ(returns_.until(), now_ + milliseconds(2));
  Ended(8, 0, 8, milliseconds(12), 2);
  EXPECT_EQ(returns_.until(), now_ + milliseconds(2));
}

TEST_F(ReturnsTest, CountsThoseWhoAreBackBeforeAllAreAnswered) {
  for (int i = 0; i < 40; ++i) Ended(8, 0, 7);
  EXPECT_EQ(Expected(), 7);
}

TEST_F(ReturnsTest, MoreThanWereAnsweredAreNotMoreThanAll) {
  Runs(40, 2, 20);
  EXPECT_EQ(Expected(), 2);
}

TEST_F(ReturnsTest, DoesNotExpectThoseWhoRunAlready) {
  Runs(40, 8, 8);
  returns_.Taken(kShape, 6);
  returns_.Taken({4}, 1);
  EXPECT_EQ(Expected(), 2);
}

TEST_F(ReturnsTest, LearnsThatTheyNoLongerComeBack) {
  Runs(40, 8, 8);
  Runs(8, 8, 0);
  EXPECT_EQ(Expected(), 0);
}

TEST_F(ReturnsTest, ExpectsNobodyWhereRowsAreRefused) {
  Runs(40, 8, 8);
  returns_.Refused();
  EXPECT_EQ(Expected(), 0);
  Runs(40, 8, 8);
  EXPECT_EQ(Expected(), 8);
}

TEST_F(ReturnsTest, ExpectsOnlyTheShapeThatRan) {
  Runs(40, 8, 8);
  EXPECT_EQ(returns_.Expected({4}, now_), 0);
}

TEST_F(ReturnsTest, RemembersWhenTheLastCame) {
  Ended(8);
  EXPECT_EQ(returns_.last(), now_);
  returns_.Came(kShape, now_ + milliseconds(2));
  returns_.Came({4}, now_ + milliseconds(3));
  returns_.Came(kShape, now_ + milliseconds(11));
  EXPECT_EQ(returns_.last(), now_ + milliseconds(2));
}

TEST(ReturnsOffTest, ExpectsNobodyWhereNobodyIsToBeWaitedFor) {
  Returns returns{Duration(0)};
  const Instant now{std::chrono::hours(1)};
  for (int i = 0; i < 40; ++i) returns.Ended({kShape, 8, kRun, now, 0, 8, 1});
  EXPECT_EQ(returns.Expected(kShape, now), 0);
}

}  // namespace
}  // namespace torchd
