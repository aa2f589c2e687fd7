#include "server/batching/batch_queue.h"

#include <map>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::unique_ptr<Request> NewRequest(Instant deadline = kNever) {
  auto request = std::make_unique<Request>();
  request->deadline = deadline;
  return request;
}

TEST(BatchQueueTest, FirstComeFirstServed) {
  ManualClock clock;
  BatchQueue queue({.rows_waiting_max = 3});
  std::vector<Request*> in;
  for (int i = 0; i < 3; ++i) {
    auto request = NewRequest();
    in.push_back(request.get());
    ASSERT_TRUE(queue.Push(std::move(request), clock.Now()).ok());
    EXPECT_EQ(request, nullptr);
    EXPECT_EQ(queue.rows_waiting(), i + 1);
  }
  for (Request* expected : in) EXPECT_EQ(queue.Pop(clock.Now()).run.get(), expected);
  EXPECT_EQ(queue.rows_waiting(), 0);
}

TEST(BatchQueueTest, EmptyQueueHasNothingDue) {
  BatchQueue queue({});
  const BatchQueue::Due due = queue.Pop(ManualClock().Now());
  EXPECT_EQ(due.run, nullptr);
  EXPECT_THAT(due.expired, IsEmpty());
  EXPECT_THAT(due.cancelled, IsEmpty());
}

TEST(BatchQueueTest, PushNotesWhenTheRequestWasAdmitted) {
  ManualClock clock;
  BatchQueue queue({});
  const Instant admitted = clock.Now();
  ASSERT_TRUE(queue.Push(NewRequest(), admitted).ok());
  clock.Advance(milliseconds(5));
  EXPECT_EQ(queue.Pop(clock.Now()).run->admitted, admitted);
}

TEST(BatchQueueTest, FullQueueRefusesAndLeavesTheRequestToItsOwner) {
  ManualClock clock;
  BatchQueue queue({.rows_waiting_max = 1});
  ASSERT_TRUE(queue.Push(NewRequest(), clock.Now()).ok());
  auto refused = NewRequest();
  const absl::Status status = queue.Push(std::move(refused), clock.Now());
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1 rows waiting, at most 1"));
  ASSERT_NE(refused, nullptr);
  queue.Pop(clock.Now());
  EXPECT_TRUE(queue.Push(std::move(refused), clock.Now()).ok());  // There is room again.
}

TEST(BatchQueueTest, WhatIsLateAlreadyIsRefusedAndLeftToItsOwner) {
  ManualClock clock;
  BatchQueue queue({});
  auto late = NewRequest(clock.Now());  // "By now" is too late.
  EXPECT_EQ(queue.Push(std::move(late), clock.Now()).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(late, nullptr);
  EXPECT_EQ(queue.rows_waiting(), 0);
  EXPECT_TRUE(queue.Push(NewRequest(clock.Now() + Duration(1)), clock.Now()).ok());
}

TEST(BatchQueueTest, PopSetsAsideWhatMustNotRunAnyMore) {
  ManualClock clock;
  BatchQueue queue({});
  std::atomic<bool> gone{false};
  auto expiring = NewRequest(clock.Now() + milliseconds(1));
  auto leaving = NewRequest();
  leaving->cancelled = &gone;
  auto good = NewRequest(clock.Now() + milliseconds(2));
  Request* const expected[] = {expiring.get(), leaving.get(), good.get()};
  for (auto* request : {&expiring, &leaving, &good}) {
    ASSERT_TRUE(queue.Push(std::move(*request), clock.Now()).ok());
  }
  clock.Advance(milliseconds(1));
  gone = true;
  const BatchQueue::Due due = queue.Pop(clock.Now());
  ASSERT_EQ(due.expired.size(), 1u);
  EXPECT_EQ(due.expired[0].get(), expected[0]);
  ASSERT_EQ(due.cancelled.size(), 1u);
  EXPECT_EQ(due.cancelled[0].get(), expected[1]);
  EXPECT_EQ(due.run.get(), expected[2]);
}

TEST(BatchQueueTest, WhatIsBehindTheOneToRunStaysEvenWhenLate) {
  ManualClock clock;
  BatchQueue queue({});
  ASSERT_TRUE(queue.Push(NewRequest(), clock.Now()).ok());
  ASSERT_TRUE(queue.Push(NewRequest(clock.Now() + milliseconds(1)), clock.Now()).ok());
  clock.Advance(milliseconds(1));
  const BatchQueue::Due first = queue.Pop(clock.Now());
  EXPECT_NE(first.run, nullptr);
  EXPECT_THAT(first.expired, IsEmpty());
  const BatchQueue::Due second = queue.Pop(clock.Now());
  EXPECT_EQ(second.run, nullptr);
  EXPECT_EQ(second.expired.size(), 1u);
}

// One random life of a queue; checks each step against what the header promises.
class Script {
 public:
  explicit Script(unsigned seed)
      : random_(seed), most_(1 + Below(5)), queue_({.rows_waiting_max = most_}) {}

  void Run() {
    for (int step = 0; step < 40; ++step) {
      switch (Below(4)) {
        case 0:
        case 1:
          Push();
          break;
        case 2:
          Pop();
          break;
        default:
          clock_.Advance(milliseconds(Below(4)));
          if (!flags_.empty())
            *flags_[static_cast<size_t>(Below(static_cast<int>(flags_.size())))] = true;
      }
    }
    while (queue_.rows_waiting() > 0) Pop();
    EXPECT_EQ(in_, run_ + expired_ + cancelled_ + refused_);
  }

 private:
  int Below(int end) { return static_cast<int>(random_() % static_cast<unsigned>(end)); }

  void Push() {
    ++in_;
    const bool hurry = Below(2) == 0;
    auto request = NewRequest(hurry ? clock_.Now() + milliseconds(Below(6)) : kNever);
    flags_.push_back(std::make_unique<std::atomic<bool>>(false));
    request->cancelled = flags_.back().get();
    const Request* const address = request.get();
    const bool late = request->deadline <= clock_.Now();
    const bool full = queue_.rows_waiting() == most_;
    const absl::Status status = queue_.Push(std::move(request), clock_.Now());
    ASSERT_EQ(status.ok(), !late && !full);
    ASSERT_EQ(request == nullptr, status.ok());
    if (status.ok()) {
      order_[address] = in_;
    } else {
      ++refused_;
    }
  }

  void Pop() {
    const BatchQueue::Due due = queue_.Pop(clock_.Now());
    int last = 0;
    for (const auto& request : due.expired) {
      ASSERT_LE(request->deadline, clock_.Now());
      last = std::max(last, Leave(*request));
      ++expired_;
    }
    for (const auto& request : due.cancelled) {
      ASSERT_TRUE(*request->cancelled);
      last = std::max(last, Leave(*request));
      ++cancelled_;
    }
    if (due.run == nullptr) {
      ASSERT_EQ(queue_.rows_waiting(), 0);  // Pop() gives up only at the end of the queue.
    } else {
      ASSERT_FALSE(*due.run->cancelled);
      ASSERT_GT(due.run->deadline, clock_.Now());
      last = std::max(last, Leave(*due.run));
      ++run_;
    }
    left_last_ = std::max(left_last_, last);
    // First come first served: whoever still waits came after all who left.
    ASSERT_EQ(static_cast<int>(order_.size()), queue_.rows_waiting());
    for (const auto& entry : order_) ASSERT_GT(entry.second, left_last_);
  }

  int Leave(const Request& request) {
    const auto at = order_.find(&request);
    EXPECT_NE(at, order_.end()) << "left twice, or never came";
    const int number = at->second;
    order_.erase(at);
    return number;
  }

  std::mt19937 random_;
  const int most_;
  ManualClock clock_;
  std::vector<std::unique_ptr<std::atomic<bool>>> flags_;
  BatchQueue queue_;
  std::map<const Request*, int> order_;  // Those waiting, and when they came.
  int left_last_ = 0;
  int in_ = 0, run_ = 0, expired_ = 0, cancelled_ = 0, refused_ = 0;
};

TEST(BatchQueueTest, RandomScriptsLoseNothingAndKeepTheOrder) {
  for (unsigned seed = 0; seed < 2000 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    Script(seed).Run();
  }
}

}  // namespace
}  // namespace torchd
