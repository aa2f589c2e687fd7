// Executors that a test holds, and rows that tell what became of them.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "gtest/gtest.h"
#include "server/batching/executors.h"
#include "tests/unit/batching/rows.h"

namespace torchd {

inline Executors::Options Threads(int threads) {
  Executors::Options options;
  options.threads = threads;
  return options;
}

inline LaneOptions UpTo8Of2000() {
  LaneOptions options;
  options.buckets = {1, 2, 4, 8};
  options.rows_waiting_max = 2000;
  return options;
}

// What a row came to.
struct Answer {
  std::vector<float> row;
  std::atomic<bool> cancelled{false};
  std::atomic<int> times_answered{0};
  absl::Status status;
  std::vector<float> scores;
  RunTimes times;
  Instant at;
};

inline const SteadyClock& RealClock() {
  static const SteadyClock clock;
  return clock;
}

inline std::unique_ptr<Request> Ask(
    Lane& lane, Answer& answer, const std::function<void()>& then = [] {}) {
  auto request = std::make_unique<Request>();
  request->lane = &lane;
  request->inputs = {FloatView(answer.row)};
  request->cancelled = &answer.cancelled;
  request->done = [&answer, then](const absl::Status& status,
                                  const std::vector<TensorView>& outputs, const RunTimes& times) {
    answer.at = RealClock().Now();
    answer.status = status;
    if (!outputs.empty()) answer.scores = Floats(outputs[0]);
    answer.times = times;
    ++answer.times_answered;
    then();
  };
  return request;
}

// Twice each number; "poison" where the first is negative. Counts the rows it sees, also padded.
struct Doubling {
  std::atomic<int> rows{0};
  FakeModel model{EchoSignature(1), [this](const RowInputs& row, std::vector<Tensor>& outputs) {
                    ++rows;
                    const float x = Floats(row[0])[0];
                    if (x < 0) return absl::InternalError("poison");
                    outputs.push_back(FloatTensor({1, 1}, {2 * x}));
                    return absl::OkStatus();
                  }};
};

// Executors, each of them held until the gate opens.
class GatedExecutors {
 public:
  explicit GatedExecutors(const Clock& clock, int threads = 1, int held = 1)
      : reached_(held), executors_(std::make_unique<Executors>(Threads(threads), clock)) {
    for (int i = 0; i < held; ++i) {
      EXPECT_TRUE(executors_->Submit(Ask(lane_, blockers_.emplace_back())).ok());
    }
    reached_.Wait();
  }
  ~GatedExecutors() { Finish(); }

  Executors* operator->() { return executors_.get(); }
  void Open() {
    if (!open_.HasBeenNotified()) open_.Notify();
  }
  // Until all is answered.
  void Finish() {
    Open();
    executors_ = nullptr;
  }

 private:
  absl::BlockingCounter reached_;
  absl::Notification open_;
  std::deque<Answer> blockers_;
  FakeModel model_{EchoSignature(0), [this](const RowInputs& row, std::vector<Tensor>& outputs) {
                     reached_.DecrementCount();
                     open_.WaitForNotification();
                     return FakeModel::Echo(row, outputs);
                   }};
  Lane lane_{model_, {}};
  std::unique_ptr<Executors> executors_;
};

}  // namespace torchd
