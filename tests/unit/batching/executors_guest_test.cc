// Which rows the thread that submits them runs itself, in the place of an idle executor.
#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "server/batching/executors.h"
#include "tests/unit/batching/rows.h"

namespace torchd {
namespace {

using std::chrono::microseconds;

class ExecutorsGuestTest : public ::testing::Test {
 protected:
  // Whether it ran on this thread.
  bool RunsHere(int64_t size, bool alone = true) {
    const std::vector<float> row(static_cast<size_t>(size));
    absl::Notification answered;
    auto request = std::make_unique<Request>();
    request->lane = &lane_;
    request->inputs = {FloatView(row)};
    request->alone = alone;
    request->done = [&](const absl::Status&, const auto&, const RunTimes&) { answered.Notify(); };
    EXPECT_TRUE(executors_.Submit(std::move(request)).ok());
    answered.WaitForNotification();
    return ran_ == std::this_thread::get_id();
  }

  // The executor sleeps after its last run, some time; after a guest's it still does.
  void SetUp() override {
    lane_.costs.Add({8}, 1, microseconds(20));
    while (!RunsHere(8)) std::this_thread::yield();
  }

  static Executors::Options TakesGuests() {
    Executors::Options options;
    options.prepare_guest = [] {};
    return options;
  }

  ManualClock clock_;
  std::thread::id ran_;
  FakeModel model_{EchoSignature(-1), [this](const RowInputs& row, std::vector<Tensor>& outputs) {
                     clock_.Advance(microseconds(20));
                     ran_ = std::this_thread::get_id();
                     return FakeModel::Echo(row, outputs);
                   }};
  Lane lane_{model_, {}};
  Executors executors_{TakesGuests(), clock_};
};

TEST_F(ExecutorsGuestTest, AShortRunIsDoneWhereItIsSubmitted) { EXPECT_TRUE(RunsHere(8)); }

// The short ones say nothing of one with a thousand times the work.
TEST_F(ExecutorsGuestTest, AShapeThatNeverRanIsNot) { EXPECT_FALSE(RunsHere(8192)); }

TEST_F(ExecutorsGuestTest, AKnownLongRunIsNot) {
  lane_.costs.Add({9}, 1, std::chrono::milliseconds(1));
  EXPECT_FALSE(RunsHere(9));
}

// Code that was compiled for a team would open one on any thread.
TEST_F(ExecutorsGuestTest, WhatWasCompiledForATeamIsNot) {
  model_.by_plan = Plan::kDirect;
  EXPECT_FALSE(RunsHere(8));
  model_.on_threads = 2;
  EXPECT_FALSE(RunsHere(8));
}

TEST_F(ExecutorsGuestTest, WhatWasCompiledForOneThreadIs) {
  model_.by_plan = Plan::kDirect;
  model_.on_threads = 1;
  EXPECT_TRUE(RunsHere(8));
}

// The first of many would hold up the rest.
TEST_F(ExecutorsGuestTest, ARowThatMoreOfItsCallFollowIsNot) { EXPECT_FALSE(RunsHere(8, false)); }

}  // namespace
}  // namespace torchd
