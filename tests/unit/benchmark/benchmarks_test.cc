#include "server/benchmark/benchmarks.h"

#include <atomic>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using Code = absl::StatusCode;

// One model, "cat", that takes three numbers; each run takes 5 ms of the test's clock.
class BenchmarksTest : public ::testing::Test {
 protected:
  BenchmarksTest() {
    repository_.Write("cat/1/model.pt", "");
    const auto snapshot = ScanRepository(repository_.path());
    registry_.SetRepository(*snapshot);
    absl::Notification settled;
    registry_.WhenSettled("cat", [&] { settled.Notify(); });
    settled.WaitForNotification();
  }

  Registry::Parts RegistryParts() {
    Registry::Parts parts;
    parts.arrival.load = [this](const VersionFolder&, const ModelConfig&, TeamedPlan) {
      return Make(1);
    };
    parts.arrival.warm_up = [](Model& model, const ModelConfig&) {
      return std::make_unique<Lane>(model, LaneOptions());
    };
    parts.on_change = [](const std::string&, bool) {};
    parts.metrics = &metrics_;
    parts.clock = &clock_;
    parts.memory_bytes_max = int64_t{100} << 20;
    return parts;
  }

  std::unique_ptr<Model> Make(float factor) {
    return std::make_unique<FakeModel>(
        EchoSignature(3), [this, factor](const RowInputs& row, std::vector<Tensor>& outputs) {
          clock_.Advance(milliseconds(5));
          {
            absl::MutexLock lock(&mutex_);
            threads_.insert(std::this_thread::get_id());
            rows_.push_back(Floats(row.at(0)));
          }
          if (on_run_) {
            const absl::Status ran = on_run_();
            if (!ran.ok()) return ran;
          }
          std::vector<float> scores = Floats(row.at(0));
          for (float& score : scores) score *= factor;
          outputs.push_back(FloatTensor({1, 3}, scores));
          return absl::OkStatus();
        });
  }

  Benchmarks& benchmarks() {
    if (benchmarks_ == nullptr) {
      benchmarks_ = std::make_unique<Benchmarks>(
          Benchmarks::Parts{registry_, executors_, clock_, load_, at_once_, memory_of_,
                            [this] { return memory_free_; }});
    }
    return *benchmarks_;
  }

  // A benchmark under way.
  struct Call {
    std::atomic<bool> cancelled{false};
    absl::Notification done;
    absl::StatusOr<BenchmarkResult> result = absl::UnknownError("not done");
    std::vector<BenchmarkProgress> told;
  };
  absl::Status Start(BenchmarkSpec spec, Call& call) {
    return benchmarks().Start(
        std::move(spec),
        {.cancelled = [&call] { return call.cancelled.load(); },
         .progress = [&call](const BenchmarkProgress& progress) { call.told.push_back(progress); },
         .done =
             [&call](absl::StatusOr<BenchmarkResult> result) {
               call.result = std::move(result);
               call.done.Notify();
             }});
  }
  absl::StatusOr<BenchmarkResult> Measure(BenchmarkSpec spec) {
    Call call;
    const absl::Status started = Start(std::move(spec), call);
    if (!started.ok()) return started;
    call.done.WaitForNotification();
    return call.result;
  }
  static void ExpectError(const absl::StatusOr<BenchmarkResult>& got, Code code,
                          const std::string& part) {
    EXPECT_EQ(got.status().code(), code) << got.status();
    EXPECT_THAT(std::string(got.status().message()), HasSubstr(part));
  }

  ManualClock clock_;
  absl::Mutex mutex_;
  std::set<std::thread::id> threads_;
  std::vector<std::vector<float>> rows_;
  std::function<absl::Status()> on_run_;
  std::function<absl::StatusOr<std::unique_ptr<Model>>(const Servable&, Plan)> load_;
  int at_once_ = 1;
  std::function<int64_t(const std::function<void()>&)> memory_of_;
  std::optional<int64_t> memory_free_;
  TempFolder repository_;
  ServerMetrics metrics_{{"0", "0"}};
  Executors executors_{{.device = "cpu", .threads = 2}, clock_};
  Registry registry_{RegistryParts()};
  std::unique_ptr<Benchmarks> benchmarks_;
};

TEST_F(BenchmarksTest, MeasuresWhatWasAskedForOnAnExecutorsThread) {
  const auto got = Measure({.model = "cat", .batch_size = 4, .warm_up = 3, .repeats = 7});
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->model, "cat");
  EXPECT_EQ(got->version, 1);
  EXPECT_EQ(got->plan, kDefaultPlan);
  EXPECT_EQ(got->batch_size, 4);
  EXPECT_EQ(got->warm_up, 3);
  EXPECT_EQ(got->times.count, 7);
  EXPECT_EQ(got->times.p50, milliseconds(20));  // Four rows.
  EXPECT_EQ(got->times.median.low, milliseconds(20));
  EXPECT_THAT(got->curve, SizeIs(10));
  EXPECT_DOUBLE_EQ(got->rows_per_second, 200);
  EXPECT_EQ(got->rows_went_first, 0);
  EXPECT_EQ(got->bins.front().count, 7);
  EXPECT_THAT(rows_, SizeIs(40));
  EXPECT_NE(rows_[0], rows_[1]) << "the rows of a run differ";
  EXPECT_EQ(rows_[0], rows_[4]) << "those of runs do not";
  EXPECT_THAT(threads_, SizeIs(1));
}

TEST_F(BenchmarksTest, WithoutAWordOfHowLongItRepeatsAHundredTimes) {
  const auto got = Measure({});  // Nor of the model, as there is one.
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->times.count, 100);
  EXPECT_EQ(got->warm_up, 10);
}

TEST_F(BenchmarksTest, ADurationEndsIt) {
  const auto got = Measure({.model = "cat", .duration = milliseconds(50)});
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->times.count, 10);
}

TEST_F(BenchmarksTest, RunsOverlapOnAsManyExecutorsAsAsked) {
  absl::Mutex mutex;
  int inside = 0;
  int most = 0;
  on_run_ = [&] {
    absl::MutexLock lock(&mutex);
    most = std::max(most, ++inside);
    const auto both = [&] { return most == 2; };
    mutex.Await(absl::Condition(&both));
    --inside;
    return absl::OkStatus();
  };
  const auto got = Measure({.model = "cat", .repeats = 20, .concurrency = 2});
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->concurrency, 2);
  EXPECT_EQ(got->times.count, 20);
  EXPECT_EQ(most, 2);
}

TEST_F(BenchmarksTest, WhatCannotBeIsRefusedAtOnce) {
  ExpectError(Measure({.model = "dog"}), Code::kNotFound, "no model 'dog'");
  ExpectError(Measure({.model = "cat", .version = 7}), Code::kNotFound, "7");
  ExpectError(Measure({.model = "cat", .repeats = 0}), Code::kInvalidArgument, "repeats");
  ExpectError(Measure({.model = "cat", .length = 3}), Code::kInvalidArgument, "length");
  ExpectError(Measure({.model = "cat", .plan = "x"}), Code::kInvalidArgument, "plan");
  ExpectError(Measure({.model = "cat", .plan = "onednn"}), Code::kFailedPrecondition, "plan");
  EXPECT_TRUE(rows_.empty());
  EXPECT_TRUE(Measure({.model = "cat"}).ok()) << "a refusal takes no place";
}

// Two at once would measure each other.
TEST_F(BenchmarksTest, OneAtATime) {
  absl::Notification begun, open;
  on_run_ = [&] {
    if (!begun.HasBeenNotified()) begun.Notify();
    open.WaitForNotification();
    return absl::OkStatus();
  };
  Call first;
  ASSERT_TRUE(Start({.model = "cat"}, first).ok());
  begun.WaitForNotification();
  ExpectError(Measure({.model = "cat"}), Code::kResourceExhausted,
              "a benchmark of model 'cat' is running; at most 1 at a time (benchmarks_max)");
  open.Notify();
  first.done.WaitForNotification();
  EXPECT_TRUE(first.result.ok());
  EXPECT_TRUE(Measure({.model = "cat"}).ok()) << "its place is free before it says it is done";
}

TEST_F(BenchmarksTest, NoneWhereTheServerAllowsNone) {
  at_once_ = 0;
  ExpectError(Measure({.model = "cat"}), Code::kFailedPrecondition, "benchmarks_max is 0");
}

TEST_F(BenchmarksTest, CancelledItEndsWithTheRunUnderWay) {
  Call call;
  std::atomic<int> runs{0};
  on_run_ = [&] {
    if (++runs == 5) call.cancelled = true;
    // The one in which it was cancelled lasts until the benchmark has noticed.
    if (call.cancelled) std::this_thread::sleep_for(milliseconds(30));
    return absl::OkStatus();
  };
  ASSERT_TRUE(Start({.model = "cat", .repeats = 1'000'000}, call).ok());
  call.done.WaitForNotification();
  ExpectError(call.result, Code::kCancelled, "cancelled");
  EXPECT_LE(runs, 6);
}

TEST_F(BenchmarksTest, CancelledItEndsAlsoWhileOtherRunsHoldEveryExecutor) {
  absl::Notification held, open;
  std::thread holder([&] {
    executors_.RunOnEach([&] {
      if (!held.HasBeenNotified()) held.Notify();
      open.WaitForNotification();
    });
  });
  held.WaitForNotification();
  Call call;
  ASSERT_TRUE(Start({.model = "cat", .concurrency = 2}, call).ok());
  call.cancelled = true;
  call.done.WaitForNotification();
  ExpectError(call.result, Code::kCancelled, "cancelled");
  EXPECT_TRUE(rows_.empty());
  open.Notify();
  holder.join();
}

TEST_F(BenchmarksTest, StopEndsWhatRunsAndRefusesWhatComes) {
  Call call;
  absl::Notification begun;
  on_run_ = [&] {
    if (!begun.HasBeenNotified()) begun.Notify();
    return absl::OkStatus();
  };
  ASSERT_TRUE(Start({.model = "cat", .repeats = 1'000'000}, call).ok());
  begun.WaitForNotification();
  benchmarks().Stop();
  call.done.WaitForNotification();
  ExpectError(call.result, Code::kUnavailable, "shutting down");
  ExpectError(Measure({.model = "cat"}), Code::kUnavailable, "shutting down");
}

TEST_F(BenchmarksTest, ARunThatFailsEndsItWithItsStatus) {
  int runs = 0;
  on_run_ = [&] {
    return ++runs == 3 ? absl::ResourceExhaustedError("no memory") : absl::OkStatus();
  };
  ExpectError(Measure({.model = "cat"}), Code::kResourceExhausted,
              "a run of 1 rows failed: no memory");
  EXPECT_EQ(runs, 3);
}

TEST_F(BenchmarksTest, TellsHowFarItIs) {
  Call call;
  on_run_ = [&] {
    std::this_thread::sleep_for(milliseconds(2));
    return absl::OkStatus();
  };
  ASSERT_TRUE(Start({.model = "cat", .warm_up = 20, .repeats = 60}, call).ok());
  call.done.WaitForNotification();
  ASSERT_GE(call.told.size(), 2u);
  EXPECT_EQ(call.told.front().phase, BenchmarkProgress::Phase::kLoading);
  double share = 0;
  for (const BenchmarkProgress& one : call.told) {
    EXPECT_GE(one.share, share);
    share = one.share;
    const int64_t total = one.phase == BenchmarkProgress::Phase::kLoading  ? 0
                          : one.phase == BenchmarkProgress::Phase::kWarmUp ? 20
                                                                           : 60;
    EXPECT_EQ(one.runs_total, total);
  }
}

TEST_F(BenchmarksTest, AnotherPlanIsLoadedForItAloneAndDroppedAfter) {
  std::vector<Plan> loaded;
  load_ = [&](const Servable& servable, Plan plan) {
    EXPECT_THAT(servable.folder.ModelFile(), HasSubstr("cat/1/model.pt"));
    loaded.push_back(plan);
    return Make(1);
  };
  const auto got = Measure({.model = "cat", .repeats = 5, .plan = "onednn"});
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_THAT(loaded, ::testing::ElementsAre(Plan::kOneDnn));
  EXPECT_THAT(rows_, SizeIs(10 + 5 + 2)) << "and a run of each to compare their answers";
}

TEST_F(BenchmarksTest, AnotherPlanThatAnswersOtherwiseHasNoResult) {
  load_ = [&](const Servable&, Plan) { return Make(2); };
  ExpectError(Measure({.model = "cat", .plan = "onednn"}), Code::kFailedPrecondition,
              "plan 'onednn' answers otherwise than the model that serves");
}

TEST_F(BenchmarksTest, AnotherPlanThatDoesNotLoadSaysWhy) {
  load_ = [&](const Servable&, Plan) -> absl::StatusOr<std::unique_ptr<Model>> {
    return absl::FailedPreconditionError("it crashes");
  };
  ExpectError(Measure({.model = "cat", .plan = "graph"}), Code::kFailedPrecondition, "it crashes");
}

// The handle keeps the version alive.
TEST_F(BenchmarksTest, AVersionThatGoesMeanwhileIsMeasuredToTheEnd) {
  absl::Notification begun, open;
  on_run_ = [&] {
    if (!begun.HasBeenNotified()) begun.Notify();
    open.WaitForNotification();
    return absl::OkStatus();
  };
  Call call;
  ASSERT_TRUE(Start({.model = "cat", .repeats = 9}, call).ok());
  begun.WaitForNotification();
  RepositorySnapshot nothing;
  registry_.SetRepository(nothing);
  EXPECT_FALSE(registry_.Lookup("cat", {}).ok());
  open.Notify();
  call.done.WaitForNotification();
  EXPECT_TRUE(call.result.ok()) << call.result.status();
}

// 1024 rows of 512 tokens took 13 GB a layer, and the kernel ended the server.
TEST_F(BenchmarksTest, RunsThatWouldTakeTooMuchMemoryAreRefusedByOneThatDoesNot) {
  constexpr int64_t kMebibyte = 1 << 20;
  memory_of_ = [](const std::function<void()>& run) {
    run();
    return 2 * kMebibyte;  // The lane has one row at most, so of two.
  };
  const auto measure = [this](int64_t batch_size, int64_t concurrency) {
    rows_.clear();
    return Measure({.model = "cat",
                    .batch_size = batch_size,
                    .warm_up = 0,
                    .repeats = 2,
                    .concurrency = concurrency});
  };
  EXPECT_TRUE(measure(100, 1).ok());
  ExpectError(measure(101, 1), Code::kResourceExhausted,
              "batch_size: got 101 rows of x float32[3], whose runs would take about 101 MiB of "
              "memory: needs 101 MiB; models have 0 MiB of the 100 MiB allowed (memory_mb_max)");
  EXPECT_THAT(rows_, SizeIs(2));
  ExpectError(measure(51, 2), Code::kResourceExhausted, "102 MiB");
  memory_free_ = 100 * kMebibyte;
  EXPECT_TRUE(measure(75, 1).ok());
  ExpectError(measure(76, 1), Code::kResourceExhausted,
              "76 MiB of memory: of the 100 MiB that the machine and its control groups leave");
  memory_free_ = 0;
  EXPECT_TRUE(measure(1, 1).ok());                                           // As clients may.
  EXPECT_EQ(registry_.Reserve(100 * kMebibyte).status(), absl::OkStatus());  // All is given back.
}

TEST_F(BenchmarksTest, ARunThatFailsOfMemoryIsNotFollowedByLargerOnes) {
  memory_of_ = [](const std::function<void()>& run) {
    run();
    return 1;
  };
  on_run_ = [] { return absl::ResourceExhaustedError("cannot take 7 bytes"); };
  ExpectError(Measure({.model = "cat", .batch_size = 1000}), Code::kResourceExhausted, "7 bytes");
  EXPECT_THAT(rows_, SizeIs(1));
}

}  // namespace
}  // namespace torchd
