#include "server/batching/returns.h"

#include "gtest/gtest.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;

const ShapeClass kShape = {3};
constexpr milliseconds kWithin{10};

class ReturnsTest : public ::testing::Test {
 protected:
  // A run of `rows` ends every 50 ms, and so many come back.
  void Runs(int runs, int rows, int back, Duration after = milliseconds(1)) {
    for (int i = 0; i < runs; ++i) {
      now_ += milliseconds(50);
      returns_.Ended(kShape, rows, 0, now_);
      for (int row = 0; row < back; ++row) returns_.Came(kShape, now_ + after);
    }
  }

  Instant now_{std::chrono::hours(1)};
  Returns returns_{kWithin};
};

TEST_F(ReturnsTest, ExpectsNobodyAtFirst) {
  EXPECT_EQ(returns_.Expected(kShape, now_), 0);
  returns_.Ended(kShape, 8, 3, now_);
  EXPECT_EQ(returns_.Expected(kShape, now_), 0) << "nobody ever came back";
}

TEST_F(ReturnsTest, ExpectsThoseWhoCameBackBefore) {
  Runs(40, 8, 8);
  returns_.Ended(kShape, 8, 3, now_);
  EXPECT_EQ(returns_.Expected(kShape, now_), 11);
  EXPECT_EQ(returns_.Expected(kShape, now_ + kWithin), 11);
  EXPECT_EQ(returns_.Expected(kShape, now_ + kWithin + Duration(1)), 0);
  EXPECT_EQ(returns_.until(), now_ + kWithin);
}

TEST_F(ReturnsTest, ExpectsTheShareThatComesBack) {
  Runs(40, 8, 6);
  returns_.Ended(kShape, 4, 0, now_);
  EXPECT_EQ(returns_.Expected(kShape, now_), 3);
}

TEST_F(ReturnsTest, DoesNotExpectThoseWhoSeldomComeBack) {
  Runs(40, 8, 3);
  EXPECT_EQ(returns_.Expected(kShape, now_), 0);
}

TEST_F(ReturnsTest, DoesNotExpectThoseWhoComeBackTooLate) {
  Runs(40, 8, 8, kWithin + milliseconds(1));
  EXPECT_EQ(returns_.Expected(kShape, now_), 0);
}

TEST_F(ReturnsTest, CountsThoseWhoAreBackBeforeAllAreAnswered) {
  for (int i = 0; i < 40; ++i) returns_.Ended(kShape, 8, 0, now_, 7);
  EXPECT_EQ(returns_.Expected(kShape, now_), 7);
}

TEST_F(ReturnsTest, MoreThanWereAnsweredAreNotMoreThanAll) {
  Runs(40, 2, 20);
  EXPECT_EQ(returns_.Expected(kShape, now_), 2);
}

TEST_F(ReturnsTest, LearnsThatTheyNoLongerComeBack) {
  Runs(40, 8, 8);
  Runs(8, 8, 0);
  EXPECT_EQ(returns_.Expected(kShape, now_), 0);
}

TEST_F(ReturnsTest, ExpectsNobodyWhereRowsAreRefused) {
  Runs(40, 8, 8);
  returns_.Refused();
  EXPECT_EQ(returns_.Expected(kShape, now_), 0);
  Runs(40, 8, 8);
  EXPECT_EQ(returns_.Expected(kShape, now_), 8);
}

TEST_F(ReturnsTest, ExpectsOnlyTheShapeThatRan) {
  Runs(40, 8, 8);
  EXPECT_EQ(returns_.Expected({4}, now_), 0);
}

TEST_F(ReturnsTest, RemembersWhenTheLastCame) {
  returns_.Ended(kShape, 8, 0, now_);
  EXPECT_EQ(returns_.last(), now_);
  returns_.Came(kShape, now_ + milliseconds(2));
  returns_.Came({4}, now_ + milliseconds(3));
  returns_.Came(kShape, now_ + milliseconds(11));
  EXPECT_EQ(returns_.last(), now_ + milliseconds(2));
}

TEST(ReturnsOffTest, ExpectsNobodyWhereNobodyIsToBeWaitedFor) {
  Returns returns{Duration(0)};
  const Instant now{std::chrono::hours(1)};
  for (int i = 0; i < 40; ++i) {
    returns.Ended(kShape, 8, 0, now);
    for (int row = 0; row < 8; ++row) returns.Came(kShape, now);
  }
  EXPECT_EQ(returns.Expected(kShape, now), 0);
}

}  // namespace
}  // namespace torchd
