#include "server/registry/control.h"

#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/registry/registry_fixture.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Code = absl::StatusCode;

constexpr char kHeading[] = "torchd loaded models 1\n";
constexpr Duration kSettle = std::chrono::seconds(3);

// The outcome of a change.
class Pending {
 public:
  RepositoryControl::Done Done() {
    return [this](const absl::Status& outcome) {
      // A copy of its own: libabsl counts references where ThreadSanitizer does not see it.
      status_ = absl::Status(outcome.code(), outcome.message());
      done_.Notify();
    };
  }
  const absl::Status& Wait() {
    done_.WaitForNotification();
    return status_;
  }

 private:
  absl::Status status_;
  absl::Notification done_;
};

class ControlTest : public RegistryFixture {
 protected:
  absl::Status Start(ControlMode mode) {
    on_demand_ = mode == ControlMode::kExplicit;
    RepositoryControl::Options options;
    options.mode = mode;
    options.state_file = state_file_;
    control_.reset();
    registry_.reset();
    source_.emplace(RepositorySource::Options{repository_.path(), {}, kSettle}, registry(), clock_);
    control_ = std::make_unique<RepositoryControl>(options, *source_, registry());
    absl::Status started = control_->Start(Scan(repository_));
    SettleAll();
    return started;
  }

  using Change = void (RepositoryControl::*)(const std::string&, const RepositoryControl::Done&);
  absl::Status Do(Change change, const std::string& name) {
    Pending pending;
    ((*control_).*change)(name, pending.Done());
    return pending.Wait();
  }
  absl::Status Load(const std::string& name) { return Do(&RepositoryControl::Load, name); }
  absl::Status Unload(const std::string& name) { return Do(&RepositoryControl::Unload, name); }
  absl::Status Reload(const std::string& name) { return Do(&RepositoryControl::Reload, name); }

  TempFolder state_;
  std::string state_file_;
  std::optional<RepositorySource> source_;
  std::unique_ptr<RepositoryControl> control_;
};

// "known": there at the start. "late": came since. "eel": nowhere.
TEST_F(ControlTest, EachModeAllowsItsOwn) {
  const struct {
    ControlMode mode;
    const char* name;
    Code load, unload, reload;
  } cases[] = {
      {ControlMode::kFixed, "known", Code::kOk, Code::kFailedPrecondition, Code::kOk},
      {ControlMode::kFixed, "late", Code::kFailedPrecondition, Code::kFailedPrecondition,
       Code::kFailedPrecondition},
      {ControlMode::kFixed, "eel", Code::kFailedPrecondition, Code::kFailedPrecondition,
       Code::kFailedPrecondition},
      {ControlMode::kWatch, "known", Code::kOk, Code::kFailedPrecondition, Code::kOk},
      {ControlMode::kWatch, "late", Code::kOk, Code::kFailedPrecondition, Code::kOk},
      {ControlMode::kWatch, "eel", Code::kNotFound, Code::kFailedPrecondition, Code::kNotFound},
      {ControlMode::kExplicit, "known", Code::kOk, Code::kOk, Code::kFailedPrecondition},
      {ControlMode::kExplicit, "late", Code::kOk, Code::kOk, Code::kFailedPrecondition},
      {ControlMode::kExplicit, "eel", Code::kNotFound, Code::kNotFound, Code::kNotFound},
      {ControlMode::kExplicit, "../x", Code::kInvalidArgument, Code::kInvalidArgument,
       Code::kInvalidArgument},
  };
  for (const auto& test : cases) {
    SCOPED_TRACE(absl::StrCat("mode ", static_cast<int>(test.mode), " ", test.name));
    Remove("late");
    Add("known/1");
    ASSERT_TRUE(Start(test.mode).ok());
    Add("late/1");
    EXPECT_EQ(Load(test.name).code(), test.load);
    EXPECT_EQ(Unload(test.name).code(), test.unload);
    EXPECT_EQ(Reload(test.name).code(), test.reload);  // Explicit: after its unload.
  }
}

TEST_F(ControlTest, FixedAndWatchLoadAllAtTheStartExplicitNothing) {
  Add("cat/1");
  for (const ControlMode mode : {ControlMode::kFixed, ControlMode::kWatch}) {
    ASSERT_TRUE(Start(mode).ok());
    EXPECT_EQ(VersionServed("cat"), 1);
  }
  ASSERT_TRUE(Start(ControlMode::kExplicit).ok());
  EXPECT_EQ(State("cat", 1), VersionState::kUnknown);
}

TEST_F(ControlTest, LoadTakesTheModelAsItIsOnDiskNow) {
  Add("cat/1");
  ASSERT_TRUE(Start(ControlMode::kFixed).ok());
  Add("cat/2");
  EXPECT_TRUE(Load("cat").ok());
  EXPECT_EQ(VersionServed("cat"), 2);
}

// It used to end what served.
TEST_F(ControlTest, AModelWhoseFolderIsAwayServesOn) {
  const TempFolder elsewhere;
  state_file_ = state_.Path("state");
  for (const ControlMode mode :
       {ControlMode::kFixed, ControlMode::kWatch, ControlMode::kExplicit}) {
    SCOPED_TRACE(static_cast<int>(mode));
    Add("cat/1");
    Add("dog/1");
    ASSERT_TRUE(Start(mode).ok());
    ASSERT_TRUE(Load("cat").ok());
    for (const char* away : {"cat", "dog"}) {  // One model is away, then all of them are.
      std::filesystem::rename(repository_.Path(away), elsewhere.Path(away));
      EXPECT_EQ(Reload("cat").code(), Code::kNotFound);
      EXPECT_EQ(Load("cat").code(), Code::kNotFound);
      EXPECT_EQ(VersionServed("cat"), 1);
    }
    if (mode == ControlMode::kExplicit) {
      EXPECT_EQ(ReadFile(state_file_), absl::StrCat(kHeading, "cat\n"));
    }
    std::filesystem::rename(elsewhere.Path("dog"), repository_.Path("dog"));
    std::filesystem::rename(elsewhere.Path("cat"), repository_.Path("cat"));
    const size_t loads = Loads().size();
    EXPECT_TRUE(Reload("cat").ok());
    EXPECT_EQ(Loads().size(), loads + 1);
    EXPECT_EQ(VersionServed("cat"), 1);
  }
}

TEST_F(ControlTest, LoadOfABrokenVersionTriesItOnce) {
  Add("cat/1");
  ASSERT_TRUE(Start(ControlMode::kWatch).ok());
  Add("cat/2", "broken");
  EXPECT_EQ(Load("cat").code(), Code::kFailedPrecondition);
  Add("cat/3", "new");
  EXPECT_TRUE(Reload("cat").ok());
  EXPECT_THAT(Loads(), ElementsAre("good", "broken", "new"));
}

// The watcher's next look used to put back what it had last seen to stand still.
TEST_F(ControlTest, WhatWasLoadedStaysThoughItHasNotSettled) {
  Add("cat/1", "one");
  ASSERT_TRUE(Start(ControlMode::kWatch).ok());
  Add("cat/2", "two");
  ASSERT_TRUE(source_->Look().ok());  // As the watcher does: version 2 may still be copied.
  SettleAll();
  ASSERT_TRUE(Load("cat").ok());
  ASSERT_TRUE(source_->Look().ok());
  SettleAll();
  EXPECT_EQ(VersionServed("cat"), 2);
  Add("cat/2", "two anew");
  ASSERT_TRUE(Reload("cat").ok());
  const std::vector<std::string> loads = Loads();
  EXPECT_EQ(loads.back(), "two anew");
  ASSERT_TRUE(source_->Look().ok());
  SettleAll();
  EXPECT_EQ(Loads(), loads);
}

TEST_F(ControlTest, LoadThatFailsSaysWhy) {
  Add("cat/1");
  ASSERT_TRUE(Start(ControlMode::kExplicit).ok());
  Add("cat/2", "broken");
  const absl::Status failed = Load("cat");
  EXPECT_EQ(failed.code(), Code::kFailedPrecondition);
  EXPECT_EQ(Message(failed), "model 'cat' version 2: LibTorch rejects it");
  EXPECT_EQ(Load("cat").code(), Code::kFailedPrecondition);
  EXPECT_EQ(VersionServed("cat"), 1);
  // Who asks again is taken at his word.
  EXPECT_THAT(Loads(), ElementsAre("broken", "good", "broken"));
  Add("cat/2", "mended");
  EXPECT_TRUE(Load("cat").ok());
}

TEST_F(ControlTest, ReloadMakesANewCopy) {
  Add("cat/1");
  ASSERT_TRUE(Start(ControlMode::kExplicit).ok());
  ASSERT_TRUE(Load("cat").ok());
  EXPECT_TRUE(Reload("cat").ok());
  EXPECT_THAT(Loads(), ElementsAre("good", "good"));
  Add("cat/1", "broken");
  EXPECT_EQ(Message(Reload("cat")),
            "model 'cat' version 1: its changed files do not load: LibTorch rejects it");
  EXPECT_EQ(VersionServed("cat"), 1);
}

TEST_F(ControlTest, UnloadWaitsForTheLastHandle) {
  Add("cat/1");
  ASSERT_TRUE(Start(ControlMode::kExplicit).ok());
  ASSERT_TRUE(Load("cat").ok());
  auto handle = registry().Lookup("cat", {});
  ASSERT_TRUE(handle.ok());
  absl::Notification done;
  control_->Unload("cat", [&](const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    done.Notify();
  });
  while (State("cat", 1) != VersionState::kUnloading) std::this_thread::yield();
  EXPECT_FALSE(done.HasBeenNotified());
  *handle = nullptr;
  done.WaitForNotification();
  EXPECT_THAT(Ended(), ElementsAre("good on unload-0"));
}

TEST_F(ControlTest, AChangeThatOutlivesTheControlStillEnds) {
  Add("cat/1");
  ASSERT_TRUE(Start(ControlMode::kExplicit).ok());
  ASSERT_TRUE(Load("cat").ok());
  auto handle = registry().Lookup("cat", {});
  ASSERT_TRUE(handle.ok());
  absl::Notification done;
  control_->Unload("cat", [&](const absl::Status&) { done.Notify(); });
  control_.reset();  // Has handed the change over before it ends.
  *handle = nullptr;
  done.WaitForNotification();
}

// --- The stop. ---

TEST_F(ControlTest, NothingIsBegunOnceTheServerStops) {
  state_file_ = state_.Path("state");
  state_.Write("state", absl::StrCat(kHeading, "cat\n"));
  Add("cat/1");
  Add("dog/1");
  ASSERT_TRUE(Start(ControlMode::kExplicit).ok());
  registry().StopLoading();
  for (const absl::Status& status : {Load("dog"), Unload("cat"), Reload("cat")}) {
    EXPECT_EQ(status.code(), Code::kUnavailable);
    EXPECT_THAT(Message(status), HasSubstr("the server is stopping"));
  }
  EXPECT_EQ(ReadFile(state_file_), absl::StrCat(kHeading, "cat\n"));
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_THAT(Loads(), ElementsAre("good"));
}

// It was FAILED_PRECONDITION, which tells a caller to mend the model.
TEST_F(ControlTest, ChangesThatTheStopCutsShortAreUnavailable) {
  load_threads_ = 1;
  Add("serving/1");
  ASSERT_TRUE(Start(ControlMode::kWatch).ok());
  Add("loading/1", "full");
  Add("queued/1");
  absl::Notification reached, open;
  on_load_ = [&](const std::string&) {
    reached.Notify();
    open.WaitForNotification();
  };
  Pending loading, queued, reloading;
  control_->Load("loading", loading.Done());
  reached.WaitForNotification();
  control_->Load("queued", queued.Done());
  control_->Reload("serving", reloading.Done());
  while (Reason("serving", 1) != "its changed files are being loaded") std::this_thread::yield();
  registry().StopLoading();
  open.Notify();
  for (Pending* change : {&loading, &queued, &reloading}) {
    EXPECT_EQ(change->Wait().code(), Code::kUnavailable);
    EXPECT_THAT(Message(change->Wait()), HasSubstr("the server is stopping"));
  }
  EXPECT_THAT(Message(loading.Wait()), HasSubstr("model 'loading' version 1: no memory left"));
  EXPECT_EQ(VersionServed("serving"), 1);
}

TEST_F(ControlTest, AChangeThatEndsThoughTheServerStopsIsDone) {
  Add("cat/1");
  ASSERT_TRUE(Start(ControlMode::kWatch).ok());
  Add("cat/1", "new");
  on_load_ = [&](const std::string&) { registry().StopLoading(); };
  EXPECT_TRUE(Load("cat").ok());
  EXPECT_THAT(Loads(), ElementsAre("good", "new"));
}

// --- The state file. ---

TEST_F(ControlTest, StateFileHasWhatWasLoaded) {
  state_file_ = state_.Path("state");
  Add("cat/1");
  Add("dog/1", "broken");
  ASSERT_TRUE(Start(ControlMode::kExplicit).ok());
  EXPECT_EQ(ReadFile(state_file_), kHeading);
  EXPECT_FALSE(Load("dog").ok());  // Asked for, all the same.
  EXPECT_TRUE(Load("cat").ok());
  EXPECT_EQ(Load("eel").code(), Code::kNotFound);
  EXPECT_EQ(ReadFile(state_file_), absl::StrCat(kHeading, "cat\ndog\n"));
  EXPECT_TRUE(Unload("dog").ok());
  EXPECT_EQ(ReadFile(state_file_), absl::StrCat(kHeading, "cat\n"));
}

TEST_F(ControlTest, NextStartLoadsWhatTheStateFileNames) {
  state_file_ = state_.Path("state");
  state_.Write("state", absl::StrCat(kHeading, "cat\ngone\n"));
  Add("cat/1");
  Add("dog/1");
  ASSERT_TRUE(Start(ControlMode::kExplicit).ok());
  EXPECT_EQ(VersionServed("cat"), 1);
  EXPECT_EQ(State("dog", 1), VersionState::kUnknown);
  EXPECT_EQ(ReadFile(state_file_), absl::StrCat(kHeading, "cat\ngone\n"));  // It may come back.
  EXPECT_TRUE(Unload("gone").ok());                                         // Or be forgotten.
  EXPECT_EQ(ReadFile(state_file_), absl::StrCat(kHeading, "cat\n"));
}

TEST_F(ControlTest, OtherModesLeaveTheStateFileAlone) {
  state_file_ = state_.Path("state");
  Add("cat/1");
  ASSERT_TRUE(Start(ControlMode::kWatch).ok());
  EXPECT_TRUE(Load("cat").ok());
  EXPECT_FALSE(std::filesystem::exists(state_file_));
}

TEST_F(ControlTest, BrokenStateFileStopsTheStart) {
  state_file_ = state_.Path("state");
  const struct {
    std::string text, says;
  } cases[] = {
      {"", "as its first line"},
      {"cat\n", "as its first line"},
      {absl::StrCat(kHeading, "cat\n../dog\n"), "line 3"},
      {std::string(5 << 20, 'x'), "more than"},
  };
  for (const auto& test : cases) {
    state_.Write("state", test.text);
    const absl::Status status = Start(ControlMode::kExplicit);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << test.says;
    EXPECT_THAT(Message(status), AllOf(HasSubstr(state_file_), HasSubstr(test.says)));
    EXPECT_EQ(ReadFile(state_file_), test.text);
  }
}

// Otherwise the next start would undo what somebody was told is done.
TEST_F(ControlTest, WhatCannotBeWrittenDownIsNotDone) {
  state_file_ = state_.Path("folder/state");
  std::filesystem::create_directory(state_.Path("folder"));
  Add("cat/1");
  Add("dog/1");
  ASSERT_TRUE(Start(ControlMode::kExplicit).ok());
  ASSERT_TRUE(Load("cat").ok());
  std::filesystem::rename(state_.Path("folder"), state_.Path("elsewhere"));
  for (const absl::Status& status : {Load("dog"), Unload("cat")}) {
    EXPECT_EQ(status.code(), Code::kFailedPrecondition);
    EXPECT_THAT(Message(status), HasSubstr(state_file_));
  }
  EXPECT_EQ(State("dog", 1), VersionState::kUnknown);
  EXPECT_EQ(VersionServed("cat"), 1);
}

TEST_F(ControlTest, UnwritableStateFileStopsTheStart) {
  state_file_ = state_.Path("nowhere/state");
  EXPECT_EQ(Start(ControlMode::kExplicit).code(), Code::kFailedPrecondition);
}

}  // namespace
}  // namespace torchd
