#include "server/daemon/warm_up.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::Each;
using ::testing::ElementsAre;

// One row at a time, unless a test asks for more.
WarmUpOptions Runs(int runs) {
  WarmUpOptions options;
  options.runs = runs;
  options.rows_per_batch_max = 1;
  return options;
}

TEST(WarmUpTest, RunsTheTrialRowOnEachExecutor) {
  ManualClock clock;
  absl::Mutex mutex;
  std::set<std::thread::id> threads;
  std::vector<float> seen;
  Shape any_length;
  const ModelSignature signature = {
      {{"x", DataType::kFloat32, {2, 3}}, {"ids", DataType::kInt64, {-1}}},
      {{"scores", DataType::kFloat32, {6}}}};
  FakeModel model(signature, [&](const RowInputs& row, std::vector<Tensor>& outputs) {
    absl::MutexLock lock(&mutex);
    threads.insert(std::this_thread::get_id());
    const std::vector<float> values = Floats(row.at(0));
    seen.insert(seen.end(), values.begin(), values.end());
    any_length = row.at(1).shape;
    outputs.push_back(FloatTensor({1, 6}, values));
    return absl::OkStatus();
  });
  Executors::Options options;
  options.threads = 3;
  Executors executors(options, clock);
  EXPECT_TRUE(WarmUp(model, {}, Runs(3), executors, clock).ok());
  EXPECT_EQ(model.runs, 9);
  EXPECT_EQ(threads.size(), 3u);
  EXPECT_EQ(seen.size(), 54u);
  EXPECT_THAT(seen, Each(1));
  ASSERT_EQ(any_length.size(), 1u);
  EXPECT_GT(any_length[0], 0);
}

TEST(WarmUpTest, FirstErrorEndsIt) {
  ManualClock clock;
  FakeModel model(EchoSignature(3), [](const RowInputs&, std::vector<Tensor>&) {
    return absl::InternalError("broken");
  });
  Executors executors({}, clock);
  EXPECT_EQ(WarmUp(model, {}, Runs(5), executors, clock).status(),
            absl::InternalError("warming up: broken"));
  EXPECT_EQ(model.runs, 1);
}

// The clock moves as the script says, run by run; its last time repeats.
class ScriptedModel {
 public:
  ScriptedModel(ManualClock& clock, std::vector<Duration> script)
      : clock_(clock), script_(std::move(script)) {}

  int RunsOf(int least) {
    Executors executors({}, clock_);
    EXPECT_TRUE(WarmUp(model_, {}, Runs(least), executors, clock_).ok());
    return model_.runs;
  }

 private:
  ManualClock& clock_;
  std::vector<Duration> script_;
  FakeModel model_{EchoSignature(3), [this](const RowInputs& row, std::vector<Tensor>& outputs) {
                     const auto run = static_cast<size_t>(model_.runs.load() - 1);
                     clock_.Advance(script_[std::min(run, script_.size() - 1)]);
                     return FakeModel::Echo(row, outputs);
                   }};
};

TEST(WarmUpTest, RunsUntilTimesSettle) {
  ManualClock clock;
  const std::vector<Duration> script = {milliseconds(900), milliseconds(50), milliseconds(10)};
  EXPECT_EQ(ScriptedModel(clock, script).RunsOf(1), 5);
  EXPECT_EQ(ScriptedModel(clock, {milliseconds(10)}).RunsOf(1), 3);
}

TEST(WarmUpTest, LeastRunsAreRunAlsoWhenTimesHaveSettled) {
  ManualClock clock;
  EXPECT_EQ(ScriptedModel(clock, {milliseconds(10)}).RunsOf(7), 7);
}

TEST(WarmUpTest, NoRunsAreNone) {
  ManualClock clock;
  EXPECT_EQ(ScriptedModel(clock, {milliseconds(10)}).RunsOf(0), 0);
}

// On a busy machine times may never settle.
TEST(WarmUpTest, EndsAtItsLimitWhereTimesDoNotSettle) {
  ManualClock clock;
  const std::vector<Duration> restless = {seconds(1), seconds(2), seconds(1), seconds(2),
                                          seconds(1), seconds(2), seconds(1), seconds(2)};
  EXPECT_EQ(ScriptedModel(clock, restless).RunsOf(1), 3);  // The limit counts from the least run.
  EXPECT_EQ(ScriptedModel(clock, restless).RunsOf(3), 5);
}

// Of a model that takes so long by the rows of a run.
std::vector<int> BucketsOf(const std::map<int, Duration>& takes, const ModelConfig& config) {
  ManualClock clock;
  class Timed final : public Model {
   public:
    Timed(ManualClock& clock, const std::map<int, Duration>& takes)
        : clock_(clock), takes_(takes) {}
    const ModelSignature& signature() const override { return echo_.signature(); }
    absl::Status Run(absl::Span<const RowInputs* const> rows,
                     std::vector<Tensor>& outputs) override {
      clock_.Advance(takes_.at(static_cast<int>(rows.size())));
      return echo_.Run(rows, outputs);
    }

   private:
    ManualClock& clock_;
    const std::map<int, Duration>& takes_;
    FakeModel echo_;
  } model(clock, takes);
  WarmUpOptions options = Runs(3);
  options.rows_per_batch_max = 8;
  Executors executors({}, clock);
  const auto lane = WarmUp(model, config, options, executors, clock);
  if (!lane.ok()) return {};
  for (const CostTable::Cost& cost : (*lane)->costs.Costs()) {
    EXPECT_THAT((*lane)->options.buckets, ::testing::Contains(cost.bucket));
  }
  return (*lane)->options.buckets;
}

TEST(WarmUpTest, NumbersOfRowsThatDoNotPayDoNotStay) {
  const std::map<int, Duration> linear = {
      {1, milliseconds(10)}, {2, milliseconds(20)}, {4, milliseconds(40)}, {8, milliseconds(80)}};
  const std::map<int, Duration> noise = {
      {1, milliseconds(100)}, {2, milliseconds(194)}, {4, milliseconds(386)}};
  const std::map<int, Duration> pays_late = {
      {1, milliseconds(10)}, {2, milliseconds(20)}, {4, milliseconds(32)}, {8, milliseconds(64)}};
  EXPECT_THAT(BucketsOf(linear, {}), ElementsAre(1));
  EXPECT_THAT(BucketsOf(noise, {}), ElementsAre(1));
  EXPECT_THAT(BucketsOf(pays_late, {}), ElementsAre(1, 2, 4));
}

TEST(WarmUpTest, NumbersOfRowsThatWereAskedForStay) {
  const std::map<int, Duration> linear = {
      {1, milliseconds(10)}, {2, milliseconds(20)}, {4, milliseconds(40)}};
  ModelConfig config;
  config.rows_per_batch_max = 4;
  EXPECT_THAT(BucketsOf(linear, config), ElementsAre(1, 2, 4));
}

TEST(WarmUpTest, ModelThatTakesOneRowRunsThemOneByOne) {
  ManualClock clock;
  int last_run = 0;
  FakeModel model(EchoSignature(3), [&](const RowInputs& row, std::vector<Tensor>& outputs) {
    if (std::exchange(last_run, model.runs.load()) == model.runs) {
      return absl::InternalError("one row only");
    }
    return FakeModel::Echo(row, outputs);
  });
  WarmUpOptions options = Runs(1);
  options.rows_per_batch_max = 8;
  Executors executors({}, clock);
  const auto lane = WarmUp(model, {}, options, executors, clock);
  ASSERT_TRUE(lane.ok()) << lane.status();
  EXPECT_THAT((*lane)->options.buckets, ElementsAre(1));
  EXPECT_EQ((*lane)->options.note, "rows run one by one: one row only");
}

TEST(TimesSettledTest, LastThreeNearTheFastest) {
  const struct {
    std::vector<int> microseconds;
    bool settled;
  } cases[] = {
      {{}, false},
      {{1000, 1000}, false},
      {{1000, 1000, 1000}, true},
      {{9000, 1000, 1250, 1000}, true},
      {{9000, 1000, 1251, 1000}, false},
      {{1000, 5000, 5000, 5000}, false},  // Slower than it can be.
      {{10, 110, 110, 110}, true},        // Too short to tell.
      {{10, 110, 111, 110}, false},
      {{0, 0, 0}, true},
  };
  for (const auto& test : cases) {
    std::vector<Duration> times;
    for (const int time : test.microseconds) times.emplace_back(std::chrono::microseconds(time));
    EXPECT_EQ(TimesSettled(times), test.settled) << ::testing::PrintToString(test.microseconds);
  }
}

TEST(RunTrialRowTest, GivesWhatTheModelMakesOfOnes) {
  ManualClock clock;
  FakeModel model;
  Executors executors({}, clock);
  const auto answer = RunTrialRow(model, executors, seconds(30));
  ASSERT_TRUE(answer.ok()) << answer.status();
  ASSERT_EQ(answer->size(), 1u);
  EXPECT_EQ(answer->at(0).shape, Shape({1, 3}));
  EXPECT_THAT(Floats(answer->at(0).View()), Each(1));
}

TEST(RunTrialRowTest, ErrorIsTheModels) {
  ManualClock clock;
  FakeModel model(EchoSignature(3), [](const RowInputs&, std::vector<Tensor>&) {
    return absl::InternalError("broken");
  });
  Executors executors({}, clock);
  EXPECT_EQ(RunTrialRow(model, executors, seconds(30)).status(), absl::InternalError("broken"));
}

}  // namespace
}  // namespace torchd
