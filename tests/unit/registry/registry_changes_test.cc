#include <atomic>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/registry/registry_fixture.h"

namespace torchd {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What happens to versions that come, change and go while they serve.
class RegistryChangesTest : public RegistryFixture {
 protected:
  // Holds the loading thread in `contents` until opened; other loads pass.
  struct Gate {
    absl::Notification reached, open;
  };
  void HoldLoadOf(const std::string& contents, Gate& gate) {
    on_load_ = [contents, &gate](const std::string& loads) {
      if (loads != contents) return;
      gate.reached.Notify();
      gate.open.WaitForNotification();
    };
  }
};

TEST_F(RegistryChangesTest, NewcomerServesBeforeTheOldGoes) {
  Gate gate;
  HoldLoadOf("new", gate);
  Add("cat/1");
  ShowAndSettle();
  Add("cat/2", "new");
  Show();
  gate.reached.WaitForNotification();
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_EQ(State("cat", 2), VersionState::kLoading);
  EXPECT_FALSE(registry().settled());
  gate.open.Notify();
  Settle("cat");
  EXPECT_EQ(VersionServed("cat"), 2);
  EXPECT_EQ(State("cat", 1), VersionState::kUnavailable);
  EXPECT_EQ(Reason("cat", 1), "unloaded");
  EXPECT_THAT(Ended(), ElementsAre("good on unload-0"));
}

TEST_F(RegistryChangesTest, EveryLookUpFindsAVersionWhileVersionsFollowEachOther) {
  Add("cat/1");
  ShowAndSettle();
  std::atomic<bool> stop{false};
  std::atomic<int> failures{0}, found{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        const auto handle = registry().Lookup("cat", {});
        const bool answers = handle.ok() && RunOnce(*(*handle)->model).ok();
        ++(answers ? found : failures);
      }
    });
  }
  for (int version = 2; version <= 20; ++version) {
    Add(absl::StrCat("cat/", version));
    if (version % 3 == 0) Remove(absl::StrCat("cat/", version - 1));
    Show();
    Settle("cat");
    if (version % 4 == 0) registry().SetModel("cat", Scan(repository_), Anew::kAll);
    Settle("cat");
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_GT(found, 0);
  EXPECT_EQ(VersionServed("cat"), 20);
  EXPECT_THAT(Ended(), ::testing::Each("good on unload-0"));
}

// The last to hold a version may be an executor, which has better things to do.
TEST_F(RegistryChangesTest, OldCopyEndsOnTheReapersThreadAfterItsLastHandle) {
  Add("cat/1", "old");
  ShowAndSettle();
  auto handle = registry().Lookup("cat", {});
  ASSERT_TRUE(handle.ok());
  Add("cat/2", "new");
  Show();
  absl::Notification settled;
  registry().WhenSettled("cat", [&] { settled.Notify(); });
  while (VersionServed("cat") != 2) std::this_thread::yield();
  while (State("cat", 1) != VersionState::kUnloading) std::this_thread::yield();
  EXPECT_FALSE(settled.HasBeenNotified());
  EXPECT_TRUE(RunOnce(*(*handle)->model).ok());
  EXPECT_THAT(Ended(), IsEmpty());
  *handle = nullptr;
  settled.WaitForNotification();
  EXPECT_THAT(Ended(), ElementsAre("old on unload-0"));
}

TEST_F(RegistryChangesTest, FailingNewcomerLeavesTheOldOne) {
  Add("cat/1");
  ShowAndSettle();
  Add("cat/2", "broken");
  ShowAndSettle();
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_EQ(Reason("cat", 2), "LibTorch rejects it");
  Remove("cat/1");  // Its files may even go: it is all there is.
  ShowAndSettle();
  EXPECT_EQ(VersionServed("cat"), 1);
  Add("cat/2", "mended");
  Show();
  EXPECT_EQ(registry().NextDueTime(), clock_.Now() + seconds(1));
  clock_.Advance(seconds(1));
  registry().Tick();
  Settle("cat");
  EXPECT_EQ(VersionServed("cat"), 2);
  EXPECT_EQ(registry().Snapshot().size(), 1u);
}

TEST_F(RegistryChangesTest, ChangedFilesTakeThePlaceOfWhatServes) {
  Add("cat/1", "old");
  ShowAndSettle();
  Add("cat/1", "newer");
  ShowAndSettle();
  EXPECT_THAT(Loads(), ElementsAre("old", "newer"));
  EXPECT_THAT(Ended(), ElementsAre("old on unload-0"));
  ShowAndSettle();  // Nothing changed.
  EXPECT_EQ(Loads().size(), 2u);
}

TEST_F(RegistryChangesTest, ChangedFilesThatFailLeaveWhatServes) {
  Add("cat/1");
  ShowAndSettle();
  Add("cat/1", "broken");
  ShowAndSettle();
  EXPECT_EQ(State("cat", 1), VersionState::kReady);
  EXPECT_EQ(Reason("cat", 1), "its changed files do not load: LibTorch rejects it");
  EXPECT_EQ(VersionServed("cat"), 1);
  clock_.Advance(seconds(100));
  registry().Tick();
  Settle("cat");
  EXPECT_EQ(Loads().size(), 2u);  // The same files fail the same way.
}

TEST_F(RegistryChangesTest, FilesThatChangeDuringTheirLoadAreLoadedAgain) {
  Gate gate;
  HoldLoadOf("old", gate);
  Add("cat/1", "old");
  Show();
  gate.reached.WaitForNotification();
  Add("cat/1", "newer");
  Show();
  gate.open.Notify();
  Settle("cat");
  EXPECT_THAT(Loads(), ElementsAre("old", "newer"));
}

TEST_F(RegistryChangesTest, ReloadMakesANewCopyOfTheSameFiles) {
  Add("cat/1");
  ShowAndSettle();
  registry().SetModel("cat", Scan(repository_), Anew::kAll);
  Settle("cat");
  EXPECT_EQ(Loads().size(), 2u);
  EXPECT_EQ(Ended().size(), 1u);
  EXPECT_EQ(VersionServed("cat"), 1);
}

// The newcomer used to be loaded twice, first for its files and then for the reload.
TEST_F(RegistryChangesTest, ReloadLoadsEachVersionOnce) {
  repository_.Write("cat/model.yaml", "versions: {all: true}\n");
  Add("cat/1", "old");
  ShowAndSettle();
  Add("cat/2", "new");
  registry().SetModel("cat", Scan(repository_), Anew::kAll);
  Settle("cat");
  EXPECT_THAT(Loads(), ElementsAre("old", "new", "old"));
}

TEST_F(RegistryChangesTest, RetryTriesAtOnceWhatFailed) {
  std::atomic<bool> mended{false};
  trial_ = [&](const VersionFolder&) -> absl::StatusOr<Trial> {
    if (mended) return Trial();
    return absl::FailedPreconditionError("a library is missing");
  };
  Add("cat/1");
  ShowAndSettle();
  EXPECT_EQ(Reason("cat", 1), "a library is missing");
  mended = true;
  registry().SetModel("cat", Scan(repository_), Anew::kFailed);
  Settle("cat");
  EXPECT_EQ(VersionServed("cat"), 1);
}

TEST_F(RegistryChangesTest, RemovedModelEndsAndIsForgotten) {
  Add("cat/1");
  Add("dog/1");
  ShowAndSettle();
  Remove("cat");
  Show();
  Settle("cat");
  EXPECT_FALSE(registry().Knows("cat"));
  EXPECT_EQ(LookupError("cat").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(VersionServed("dog"), 1);
}

TEST_F(RegistryChangesTest, OneModelCanBeSetAlone) {
  Add("cat/1");
  Add("dog/1");
  const RepositorySnapshot before = Scan(repository_);
  registry().SetModel("dog", before);
  registry().SetModel("eel", before);
  Settle("dog");
  EXPECT_EQ(VersionServed("dog"), 1);
  EXPECT_FALSE(registry().Knows("cat"));
  EXPECT_FALSE(registry().Knows("eel"));
  Remove("dog");
  registry().SetModel("dog", Scan(repository_));
  Settle("dog");
  EXPECT_FALSE(registry().Knows("dog"));
}

// It used to stay in the listing for ever: nothing looked at it again once its load had failed.
TEST_F(RegistryChangesTest, WhatGoesDuringALoadThatFailsIsForgotten) {
  Gate gate;
  HoldLoadOf("broken", gate);
  Add("cat/1", "broken");
  Show();
  gate.reached.WaitForNotification();
  Remove("cat");
  Show();
  EXPECT_TRUE(registry().Knows("cat"));
  gate.open.Notify();
  Settle("cat");
  EXPECT_FALSE(registry().Knows("cat"));
}

TEST_F(RegistryChangesTest, OnDemandLoadsWhatSomebodyAsksFor) {
  on_demand_ = true;
  Add("cat/1");
  Add("dog/1");
  ShowAndSettle();
  EXPECT_THAT(Loads(), IsEmpty());
  EXPECT_EQ(Reason("cat", 1), "not loaded: nobody asked for it");
  EXPECT_EQ(LookupError("cat").code(), absl::StatusCode::kUnavailable);
  registry().Ask("cat", true);
  registry().Ask("eel", true);
  Settle("cat");
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_EQ(State("dog", 1), VersionState::kUnknown);
  registry().Ask("cat", false);
  Settle("cat");
  EXPECT_EQ(Reason("cat", 1), "unloaded");
  EXPECT_THAT(Ended(), ElementsAre("good on unload-0"));
}

// --- Memory. ---

TEST_F(RegistryChangesTest, WhatFindsNoMemoryLoadsOnceThereIsSome) {
  load_threads_ = 1;
  memory_bytes_max_ = 5000;
  const std::string thousand(1000, 'x');  // Reserves 2000 bytes.
  for (const char* folder : {"ant/1", "bee/1", "cat/1"}) Add(folder, thousand);
  ShowAndSettle();
  EXPECT_EQ(registry().memory().reserved(), 4000);
  EXPECT_EQ(State("cat", 1), VersionState::kUnavailable);
  EXPECT_THAT(Reason("cat", 1), HasSubstr("(memory_mb_max)"));
  EXPECT_EQ(registry().NextDueTime(), clock_.Now() + seconds(1));
  Remove("ant");
  Show();
  Settle("ant");
  EXPECT_EQ(registry().memory().reserved(), 2000);
  registry().Tick();  // Not due yet.
  Settle("cat");
  EXPECT_EQ(State("cat", 1), VersionState::kUnavailable);
  clock_.Advance(seconds(1));
  registry().Tick();
  Settle("cat");
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_EQ(registry().NextDueTime(), kNever);
}

TEST_F(RegistryChangesTest, TransientFailuresAreTriedLessAndLessOften) {
  Add("cat/1", "full");
  ShowAndSettle();
  for (const int delay : {1, 2, 4, 8}) {
    EXPECT_EQ(registry().NextDueTime(), clock_.Now() + seconds(delay));
    clock_.Advance(seconds(delay));
    registry().Tick();
    Settle("cat");
  }
  EXPECT_EQ(Loads().size(), 5u);
  EXPECT_EQ(Reason("cat", 1), "no memory left");
}

// --- The end. ---

TEST_F(RegistryChangesTest, StopWaitsForTheLoadThatRunsAndBeginsNoOther) {
  Gate gate;
  load_threads_ = 1;
  HoldLoadOf("first", gate);
  Add("ant/1", "first");
  Add("bee/1", "second");
  Show();
  gate.reached.WaitForNotification();
  registry().StopLoading();
  absl::Notification ant, bee;
  registry().WhenSettled("ant", [&] { ant.Notify(); });
  registry().WhenSettled("bee", [&] { bee.Notify(); });
  EXPECT_FALSE(ant.HasBeenNotified());
  std::thread stopping([&] { registry().Stop(); });
  gate.open.Notify();
  stopping.join();
  EXPECT_THAT(Loads(), ElementsAre("first"));
  // Whoever waits is told, also of what never loads: a call would hang in the server's end.
  EXPECT_TRUE(ant.HasBeenNotified());
  EXPECT_TRUE(bee.HasBeenNotified());
  EXPECT_FALSE(registry().Knows("ant"));  // All versions are let go.
  Add("cat/1");
  Show();
  Settle("cat");
  EXPECT_EQ(Loads().size(), 1u);
}

TEST_F(RegistryChangesTest, HandleOutlivesTheRegistry) {
  Add("cat/1");
  ShowAndSettle();
  auto handle = registry().Lookup("cat", {});
  ASSERT_TRUE(handle.ok());
  registry_.reset();
  EXPECT_TRUE(RunOnce(*(*handle)->model).ok());
  EXPECT_THAT(Ended(), IsEmpty());
  *handle = nullptr;
  EXPECT_EQ(Ended().size(), 1u);  // On this thread: there is no other left.
}

}  // namespace
}  // namespace torchd
