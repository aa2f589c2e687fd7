#include "server/daemon/warm_up.h"

#include <set>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/fakes/fake_model.h"

namespace torchd {
namespace {

using ::testing::Each;

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
  EXPECT_TRUE(WarmUp(model, executors, 2).ok());
  EXPECT_EQ(model.runs, 6);
  EXPECT_EQ(threads.size(), 3u);
  EXPECT_EQ(seen.size(), 36u);
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
  EXPECT_EQ(WarmUp(model, executors, 5), absl::InternalError("warming up: broken"));
  EXPECT_EQ(model.runs, 1);
}

}  // namespace
}  // namespace torchd
