#include "server/batching/row_queue.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/batching/rows.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

constexpr Priority kHigh = Priority::kHigh;
constexpr Priority kNormal = Priority::kNormal;
constexpr Priority kLow = Priority::kLow;

// Rows have names, so that an order reads as one.
class RowQueueTest : public ::testing::Test {
 protected:
  void Push(const std::string& name, Priority priority = kNormal, uint64_t client = 0,
            Duration at = {}) {
    names_.push_back(name);
    RowKind kind;
    kind.priority = priority;
    kind.client = client;
    auto row = RowOf(lane_.lane, kind, start_ + at);
    row->inputs[0].bytes = names_.size() - 1;
    queue_.Push(std::move(row));
  }

  std::string NameOf(const Request* row) const {
    return row == nullptr ? "none" : names_.at(row->inputs[0].bytes);
  }

  std::string Pop() {
    const std::unique_ptr<Request> row = queue_.Pop();
    return NameOf(row.get());
  }

  std::vector<std::string> PopAll() {
    std::vector<std::string> order;
    while (queue_.rows() > 0) order.push_back(Pop());
    return order;
  }

  const Instant start_{std::chrono::hours(1)};
  OwnLane lane_;
  std::vector<std::string> names_;
  RowQueue queue_{seconds(1)};
};

TEST_F(RowQueueTest, OneClientsRowsRunAsTheyCame) {
  for (const char* name : {"a", "b", "c"}) Push(name);
  EXPECT_EQ(queue_.rows(), 3);
  EXPECT_THAT(PopAll(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(queue_.rows(), 0);
}

TEST_F(RowQueueTest, HigherPriorityGoesFirst) {
  Push("low", kLow);
  Push("normal", kNormal);
  Push("high", kHigh);
  EXPECT_THAT(PopAll(), ElementsAre("high", "normal", "low"));
}

TEST_F(RowQueueTest, ClientsTakeTurns) {
  for (const char* name : {"a1", "a2", "a3"}) Push(name, kNormal, 1);
  for (const char* name : {"b1", "b2"}) Push(name, kNormal, 2);
  Push("c1", kNormal, 3);
  EXPECT_THAT(PopAll(), ElementsAre("a1", "b1", "c1", "a2", "b2", "a3"));
}

// Coming back at once must not win a client another turn before those that wait.
TEST_F(RowQueueTest, AClientThatComesBackWaitsForTheOthersTurns) {
  Push("a1", kNormal, 1);
  Push("b1", kNormal, 2);
  Push("b2", kNormal, 2);
  EXPECT_EQ(Pop(), "a1");
  Push("a2", kNormal, 1);
  EXPECT_THAT(PopAll(), ElementsAre("b1", "a2", "b2"));
}

TEST_F(RowQueueTest, RowsWithoutAClientAreOneClient) {
  for (const char* name : {"x1", "x2", "x3"}) Push(name, kNormal, 0);
  Push("a1", kNormal, 1);
  EXPECT_THAT(PopAll(), ElementsAre("x1", "a1", "x2", "x3"));
}

struct Overtaking {
  Priority older;
  Priority newer;
  Duration later;
  bool overtakes;
};

class OvertakingTest : public ::testing::TestWithParam<Overtaking> {};

TEST_P(OvertakingTest, OnlyWhileTheOlderHasNotAged) {
  const Instant start(std::chrono::hours(1));
  OwnLane lane;
  RowQueue queue(seconds(1));
  RowKind older, newer;
  older.priority = GetParam().older;
  newer.priority = GetParam().newer;
  queue.Push(RowOf(lane.lane, older, start));
  queue.Push(RowOf(lane.lane, newer, start + GetParam().later));
  const bool newer_first = queue.Pop()->admitted != start;
  EXPECT_EQ(newer_first, GetParam().overtakes) << Microseconds(GetParam().later) << " us later";
}

INSTANTIATE_TEST_SUITE_P(RowQueue, OvertakingTest,
                         ::testing::Values(Overtaking{kNormal, kHigh, milliseconds(1), true},
                                           Overtaking{kNormal, kHigh, milliseconds(999), true},
                                           Overtaking{kNormal, kHigh, milliseconds(1001), false},
                                           Overtaking{kLow, kNormal, milliseconds(999), true},
                                           Overtaking{kLow, kNormal, milliseconds(1001), false},
                                           Overtaking{kLow, kHigh, milliseconds(1999), true},
                                           Overtaking{kLow, kHigh, milliseconds(2001), false},
                                           Overtaking{kHigh, kNormal, milliseconds(1), false},
                                           Overtaking{kNormal, kLow, milliseconds(1), false},
                                           Overtaking{kHigh, kLow, seconds(9), false}));

// High priority comes for ever, and yet the low one has its turn once it has aged.
TEST_F(RowQueueTest, ALowPriorityDoesNotStarve) {
  Push("low", kLow);
  int overtaken = 0;
  for (int i = 1; i < 100; ++i) {
    Push("high", kHigh, 1, milliseconds(100 * i));
    Push("high", kHigh, 1, milliseconds(100 * i));
    if (Pop() == "low") break;
    ++overtaken;
  }
  EXPECT_LE(overtaken, 41);  // Those of the first two seconds.
  EXPECT_GE(overtaken, 19);
}

TEST_F(RowQueueTest, OldestCountsALowerPriorityAsYounger) {
  Push("normal", kNormal, 0, milliseconds(0));
  EXPECT_EQ(queue_.Oldest(), start_ + seconds(1));
  Push("high", kHigh, 0, milliseconds(500));
  EXPECT_EQ(queue_.Oldest(), start_ + milliseconds(500));
  EXPECT_EQ(Pop(), "high");
  EXPECT_EQ(queue_.Oldest(), start_ + seconds(1));
}

TEST_F(RowQueueTest, OldestLooksAtAllClients) {
  Push("a1", kHigh, 1, milliseconds(1));
  Push("b1", kHigh, 2, milliseconds(2));
  Push("a2", kHigh, 1, milliseconds(3));
  Push("b2", kHigh, 2, milliseconds(4));
  EXPECT_EQ(Pop(), "a1");
  EXPECT_EQ(queue_.Oldest(), start_ + milliseconds(2));
  EXPECT_EQ(Pop(), "b1");
  EXPECT_EQ(queue_.Oldest(), start_ + milliseconds(3));
}

TEST_F(RowQueueTest, RowsBeforeCountsHigherAndEqualPriorities) {
  EXPECT_EQ(queue_.RowsBefore(kNormal, 0), 0);
  Push("low", kLow);
  Push("normal", kNormal);
  Push("normal", kNormal);
  Push("high", kHigh);
  EXPECT_EQ(queue_.RowsBefore(kLow, 0), 4);
  EXPECT_EQ(queue_.RowsBefore(kNormal, 0), 3);
  EXPECT_EQ(queue_.RowsBefore(kHigh, 0), 1);
}

// Whatever waits: the number said is the number that runs before, unless more come.
TEST_F(RowQueueTest, RowsBeforeIsHowManyRunBefore) {
  uint64_t state = 11;
  const auto below = [&](uint64_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % limit;
  };
  for (int round = 0; round < 2000; ++round) {
    for (uint64_t i = below(12); i > 0; --i) {
      Push("", static_cast<Priority>(below(3)), below(4));
    }
    for (uint64_t i = below(4); i > 0 && queue_.rows() > 0; --i) Pop();
    const auto priority = static_cast<Priority>(below(3));
    const uint64_t client = below(4);
    const int said = queue_.RowsBefore(priority, client);
    Push("newcomer", priority, client);
    int before = 0;
    while (Pop() != "newcomer") ++before;
    ASSERT_EQ(before, said) << "round " << round;
    while (queue_.rows() > 0) Pop();
    names_.clear();
  }
}

TEST_F(RowQueueTest, RemoveTakesThoseAndLeavesTheOthersOrder) {
  Push("a1", kNormal, 1);
  Push("a2", kNormal, 1);
  Push("b1", kNormal, 2);
  Push("c1", kHigh, 3);
  Push("a3", kNormal, 1);
  const auto gone = queue_.Remove([this](const Request& row) {
    return NameOf(&row) == "a2" || NameOf(&row) == "b1" || NameOf(&row) == "c1";
  });
  std::vector<std::string> names;
  for (const auto& row : gone) names.push_back(NameOf(row.get()));
  EXPECT_THAT(names, UnorderedElementsAre("a2", "b1", "c1"));
  EXPECT_EQ(queue_.rows(), 2);
  EXPECT_EQ(queue_.RowsBefore(kNormal, 9), 1);
  EXPECT_THAT(PopAll(), ElementsAre("a1", "a3"));
}

TEST_F(RowQueueTest, TakeNewestTakesTheLastToCome) {
  for (const char* name : {"a1", "a2", "a3"}) Push(name, kNormal, 1);
  Push("b1", kNormal, 2);
  EXPECT_EQ(NameOf(queue_.TakeNewest(kNormal, 1).get()), "a3");
  EXPECT_EQ(queue_.rows(), 3);
  EXPECT_THAT(PopAll(), ElementsAre("a1", "b1", "a2"));
}

TEST_F(RowQueueTest, TakeNewestLeavesWhatWouldGoFirst) {
  Push("a", kLow, 1);
  EXPECT_EQ(queue_.TakeNewest(kLow, 1, {kHigh, start_ + milliseconds(2001)}), nullptr);
  EXPECT_EQ(queue_.TakeNewest(kLow, 1, {kNormal, start_ + milliseconds(1001)}), nullptr);
  EXPECT_EQ(NameOf(queue_.TakeNewest(kLow, 1, {kHigh, start_ + milliseconds(1999)}).get()), "a");
}

TEST_F(RowQueueTest, TakeNewestLeavesHigherPriorities) {
  Push("high", kHigh, 1);
  Push("normal", kNormal, 1);
  EXPECT_EQ(queue_.TakeNewest(kLow, 1), nullptr);
  EXPECT_EQ(NameOf(queue_.TakeNewest(kNormal, 1).get()), "normal");
  EXPECT_EQ(queue_.TakeNewest(kNormal, 1), nullptr);
  EXPECT_EQ(queue_.TakeNewest(kNormal, 2), nullptr);
  EXPECT_THAT(PopAll(), ElementsAre("high"));
}

TEST_F(RowQueueTest, ForEachVisitsEachOnce) {
  Push("low", kLow, 1);
  Push("high", kHigh, 2);
  Push("high too", kHigh, 3);
  std::vector<std::string> seen;
  queue_.ForEach([&](const Request& row) { seen.push_back(NameOf(&row)); });
  EXPECT_THAT(seen, UnorderedElementsAre("low", "high", "high too"));
}

}  // namespace
}  // namespace torchd
