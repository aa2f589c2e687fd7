#include "server/registry/reaper.h"

#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/registry/registry_fixture.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class ReaperTest : public ::testing::Test {
 protected:
  void Note(const std::string& what) {
    absl::MutexLock lock(&mutex_);
    notes_.push_back(what + " on " + ThreadName());
  }
  std::vector<std::string> Notes() {
    absl::MutexLock lock(&mutex_);
    return notes_;
  }

  std::unique_ptr<Servable> NewServable() {
    const std::shared_ptr<void> life(nullptr, [this](void*) { Note("ended"); });
    auto model = std::make_unique<FakeModel>(
        EchoSignature(3), [life](const RowInputs& row, std::vector<Tensor>& outputs) {
          return FakeModel::Echo(row, outputs);
        });
    auto preprocessor =
        Preprocessor::Create(ModelConfig(), model->signature().inputs, "", ImageLimits());
    EXPECT_TRUE(preprocessor.ok()) << preprocessor.status();
    return std::make_unique<Servable>(Servable{"cat",
                                               1,
                                               ModelConfig(),
                                               {},
                                               std::move(model),
                                               nullptr,
                                               *std::move(preprocessor),
                                               metrics_.ForModel("cat", 1)});
  }

  ServerMetrics metrics_{{"0", "0"}};
  absl::Mutex mutex_;
  std::vector<std::string> notes_;
};

TEST_F(ReaperTest, LastHandleHandsTheServableOver) {
  Reaper reaper;
  absl::Notification gone;
  ModelHandle handle = reaper.Own(NewServable(), [&] {
    Note("gone");
    gone.Notify();
  });
  ModelHandle second = handle;
  handle.reset();
  EXPECT_THAT(Notes(), IsEmpty());
  std::thread([last = std::move(second)]() mutable { last.reset(); }).join();
  gone.WaitForNotification();
  EXPECT_THAT(Notes(), ElementsAre("ended on unload-0", "gone on unload-0"));
}

TEST_F(ReaperTest, DestructorDestroysWhatWasHandedOver) {
  {
    Reaper reaper;
    for (int i = 0; i < 3; ++i) reaper.Own(NewServable(), [this] { Note("gone"); }).reset();
  }
  EXPECT_EQ(Notes().size(), 6u);
}

TEST_F(ReaperTest, HandleMayOutliveTheReaper) {
  auto reaper = std::make_unique<Reaper>();
  ModelHandle handle = reaper->Own(NewServable(), [this] { Note("gone"); });
  reaper.reset();
  EXPECT_THAT(Notes(), IsEmpty());
  handle.reset();
  EXPECT_THAT(Notes(), ElementsAre("ended on " + ThreadName()));
}

// `gone` may let go of another handle: a lock held meanwhile would stop the thread for ever.
TEST_F(ReaperTest, GoneMayLetGoOfAnotherHandle) {
  Reaper reaper;
  absl::Notification all;
  ModelHandle second = reaper.Own(NewServable(), [&] { all.Notify(); });
  reaper.Own(NewServable(), [&] { second.reset(); }).reset();
  all.WaitForNotification();
}

}  // namespace
}  // namespace torchd
