#include "server/batching/executors.h"

#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "absl/synchronization/barrier.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

Executors::Options Threads(int threads) {
  Executors::Options options;
  options.threads = threads;
  return options;
}

LaneOptions Waiting(int rows_max) {
  LaneOptions options;
  options.rows_waiting_max = rows_max;
  return options;
}

std::unique_ptr<Request> NewRequest(Lane& lane, const std::vector<float>& row) {
  auto request = std::make_unique<Request>();
  request->lane = &lane;
  request->inputs = {FloatView(row)};
  request->done = [](const absl::Status&, const std::vector<TensorView>&, const RunTimes&) {};
  return request;
}

// Holds the one executor until opened.
struct Gate {
  absl::Notification reached, open;
  FakeModel model{EchoSignature(3), [this](const RowInputs& row, std::vector<Tensor>& outputs) {
                    reached.Notify();
                    open.WaitForNotification();
                    return FakeModel::Echo(row, outputs);
                  }};
  Lane lane{model, {}};
};

TEST(ExecutorsTest, GivesEachRequestItsOwnRowOfScores) {
  ManualClock clock;
  FakeModel model;
  Lane model_lane(model, {});
  const std::vector<float> row = {1, 2, 3};
  std::vector<float> scores;
  Shape shape;
  int batch_rows = 0;
  absl::Notification done;
  Executors executors(Threads(1), clock);
  auto request = NewRequest(model_lane, row);
  request->done = [&](const absl::Status& status, const std::vector<TensorView>& outputs,
                      const RunTimes& times) {
    EXPECT_TRUE(status.ok()) << status;
    scores = Floats(outputs.at(0));
    shape = outputs.at(0).shape;
    batch_rows = times.batch_rows;
    done.Notify();
  };
  ASSERT_TRUE(executors.Submit(std::move(request)).ok());
  done.WaitForNotification();
  EXPECT_THAT(scores, ElementsAre(1, 2, 3));
  EXPECT_EQ(shape, Shape({3}));  // Without the batch dimension.
  EXPECT_EQ(batch_rows, 1);
  EXPECT_EQ(executors.rows_run(), 1);
}

// Whatever runs when, each completion is called once: also those still queued at destruction.
TEST(ExecutorsTest, EveryRequestCompletesExactlyOnceAlsoInTheDestructor) {
  for (const int threads : {1, 4}) {
    ManualClock clock;
    FakeModel model;
    Lane model_lane(model, Waiting(500));
    const std::vector<float> row = {1, 2, 3};
    std::vector<std::atomic<int>> completions(500);
    {
      Executors executors(Threads(threads), clock);
      for (auto& count : completions) {
        auto request = NewRequest(model_lane, row);
        request->done = [&](const absl::Status&, const auto&, const RunTimes&) { ++count; };
        ASSERT_TRUE(executors.Submit(std::move(request)).ok());
      }
    }
    for (const auto& count : completions) EXPECT_EQ(count, 1) << threads << " threads";
    EXPECT_EQ(model.runs, 500);
  }
}

TEST(ExecutorsTest, OneExecutorKeepsTheOrder) {
  ManualClock clock;
  FakeModel model;
  Lane model_lane(model, {});
  const std::vector<float> row = {1, 2, 3};
  std::vector<int> order;
  {
    Executors executors(Threads(1), clock);
    for (int i = 0; i < 5; ++i) {
      auto request = NewRequest(model_lane, row);
      request->done = [&, i](const absl::Status&, const auto&, const RunTimes&) {
        order.push_back(i);
      };
      ASSERT_TRUE(executors.Submit(std::move(request)).ok());
    }
  }
  EXPECT_THAT(order, ElementsAre(0, 1, 2, 3, 4));
}

TEST(ExecutorsTest, FailingModelGivesItsStatusAndNoOutputs) {
  ManualClock clock;
  FakeModel model(EchoSignature(3), [](const RowInputs& row, std::vector<Tensor>& outputs) {
    return FakeModel::Echo(row, outputs).ok() ? absl::InternalError("broken") : absl::OkStatus();
  });
  Lane model_lane(model, {});
  const std::vector<float> row = {1, 2, 3};
  absl::Status status;
  size_t outputs_given = 99;
  {
    Executors executors(Threads(1), clock);
    auto request = NewRequest(model_lane, row);
    request->done = [&](const absl::Status& ran, const auto& outputs, const RunTimes&) {
      status = ran;
      outputs_given = outputs.size();
    };
    ASSERT_TRUE(executors.Submit(std::move(request)).ok());
  }
  EXPECT_EQ(status, absl::InternalError("broken"));
  EXPECT_EQ(outputs_given, 0u);
}

TEST(ExecutorsTest, FullQueueRefusesAndLeavesTheRequestToItsOwner) {
  ManualClock clock;
  Gate gate;
  FakeModel model;
  Lane model_lane(model, Waiting(1));
  const std::vector<float> row = {1, 2, 3};
  Executors executors(Threads(1), clock);
  ASSERT_TRUE(executors.Submit(NewRequest(gate.lane, row)).ok());
  gate.reached.WaitForNotification();
  ASSERT_TRUE(executors.Submit(NewRequest(model_lane, row)).ok());
  EXPECT_EQ(executors.rows_waiting(), 1);
  auto refused = NewRequest(model_lane, row);
  EXPECT_EQ(executors.Submit(std::move(refused)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(refused, nullptr);
  gate.open.Notify();
}

TEST(ExecutorsTest, WhatExpiresOrIsCancelledInTheQueueNeverRuns) {
  ManualClock clock;
  Gate gate;
  FakeModel model;
  Lane model_lane(model, {});
  const std::vector<float> row = {1, 2, 3};
  const std::atomic<bool> gone{true};
  absl::Status late_status, gone_status;
  RunTimes late_times;
  {
    Executors executors(Threads(1), clock);
    ASSERT_TRUE(executors.Submit(NewRequest(gate.lane, row)).ok());
    gate.reached.WaitForNotification();
    auto late = NewRequest(model_lane, row);
    late->deadline = clock.Now() + milliseconds(1);
    late->done = [&](const absl::Status& status, const auto&, const RunTimes& times) {
      late_status = status;
      late_times = times;
    };
    auto cancelled = NewRequest(model_lane, row);
    cancelled->cancelled = &gone;
    cancelled->done = [&](const absl::Status& status, const auto&, const RunTimes&) {
      gone_status = status;
    };
    ASSERT_TRUE(executors.Submit(std::move(late)).ok());
    ASSERT_TRUE(executors.Submit(std::move(cancelled)).ok());
    clock.Advance(milliseconds(1));
    gate.open.Notify();
  }
  EXPECT_EQ(late_status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(gone_status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(model.runs, 0);
  EXPECT_EQ(late_times.batch_rows, 0);
  EXPECT_EQ(late_times.started - late_times.admitted, milliseconds(1));
}

TEST(ExecutorsTest, TimesTellQueueAndRunApart) {
  ManualClock clock;
  Gate gate;
  FakeModel slow(EchoSignature(3), [&](const RowInputs& row, std::vector<Tensor>& outputs) {
    clock.Advance(milliseconds(7));
    return FakeModel::Echo(row, outputs);
  });
  Lane slow_lane(slow, {});
  const std::vector<float> row = {1, 2, 3};
  RunTimes times;
  {
    Executors executors(Threads(1), clock);
    ASSERT_TRUE(executors.Submit(NewRequest(gate.lane, row)).ok());
    gate.reached.WaitForNotification();
    auto request = NewRequest(slow_lane, row);
    request->done = [&](const absl::Status&, const auto&, const RunTimes& ran) { times = ran; };
    ASSERT_TRUE(executors.Submit(std::move(request)).ok());
    clock.Advance(milliseconds(2));
    gate.open.Notify();
  }
  EXPECT_EQ(times.started - times.admitted, milliseconds(2));
  EXPECT_EQ(times.finished - times.started, milliseconds(7));
}

TEST(ExecutorsTest, RunOnEachRunsOnceOnEveryThread) {
  ManualClock clock;
  std::mutex mutex;
  std::vector<std::thread::id> threads;
  Executors executors(Threads(4), clock);
  executors.RunOnEach([&] {
    const std::lock_guard lock(mutex);
    threads.push_back(std::this_thread::get_id());
  });
  EXPECT_EQ(threads.size(), 4u);
  EXPECT_EQ(std::set(threads.begin(), threads.end()).size(), 4u);
}

// Were the executors to take turns, the rows would wait for each other for ever.
TEST(ExecutorsTest, IdleExecutorsRunTheSameModelAtOnce) {
  ManualClock clock;
  auto* all = new absl::Barrier(3);  // Whoever leaves it last deletes it.
  FakeModel model(EchoSignature(3), [all](const RowInputs& row, std::vector<Tensor>& outputs) {
    if (all->Block()) delete all;
    return FakeModel::Echo(row, outputs);
  });
  Lane model_lane(model, {});
  const std::vector<float> row = {1, 2, 3};
  Executors executors(Threads(3), clock);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(executors.Submit(NewRequest(model_lane, row)).ok());
}

TEST(ExecutorsTest, EachThreadIsPreparedBeforeItRunsAnything) {
  ManualClock clock;
  std::atomic<int> prepared{0}, unprepared{0};
  thread_local bool ready = false;
  Executors::Options options = Threads(3);
  options.prepare_thread = [&] {
    ready = true;
    ++prepared;
  };
  Executors executors(options, clock);
  executors.RunOnEach([&] { unprepared += ready ? 0 : 1; });
  EXPECT_EQ(prepared, 3);
  EXPECT_EQ(unprepared, 0);
}

TEST(ExecutorsTest, BusySinceCountsRunsThatBeganBefore) {
  ManualClock clock;
  Gate gate;
  const std::vector<float> row = {1, 2, 3};
  Executors executors(Threads(2), clock);
  EXPECT_EQ(executors.BusySince(clock.Now() + milliseconds(1)), 0);  // Idle.
  ASSERT_TRUE(executors.Submit(NewRequest(gate.lane, row)).ok());
  gate.reached.WaitForNotification();
  const Instant began = clock.Now();
  clock.Advance(milliseconds(10));
  EXPECT_EQ(executors.BusySince(began), 0);
  EXPECT_EQ(executors.BusySince(began + milliseconds(1)), 1);
  EXPECT_EQ(executors.BusySince(clock.Now()), 1);
  gate.open.Notify();
  executors.RunOnEach([] {});  // Later runs begin later.
  EXPECT_EQ(executors.BusySince(clock.Now()), 0);
}

// Warming up may hang like any other run.
TEST(ExecutorsTest, BusySinceCountsTasksToo) {
  ManualClock clock;
  Executors executors(Threads(1), clock);
  absl::Notification reached, go;
  std::thread warming([&] {
    executors.RunOnEach([&] {
      reached.Notify();
      go.WaitForNotification();
    });
  });
  reached.WaitForNotification();
  clock.Advance(milliseconds(1));
  EXPECT_EQ(executors.BusySince(clock.Now()), 1);
  go.Notify();
  warming.join();
}

}  // namespace
}  // namespace torchd
