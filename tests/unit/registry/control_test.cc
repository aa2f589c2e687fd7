#include "server/registry/control.h"

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

class ControlTest : public RegistryFixture {
 protected:
  absl::Status Start(ControlMode mode) {
    on_demand_ = mode == ControlMode::kExplicit;
    RepositoryControl::Options options;
    options.repository = repository_.path();
    options.mode = mode;
    options.state_file = state_file_;
    control_.reset();
    registry_.reset();
    control_ = std::make_unique<RepositoryControl>(options, registry());
    absl::Status started = control_->Start(Scan(repository_));
    SettleAll();
    return started;
  }

  using Change = void (RepositoryControl::*)(const std::string&, const RepositoryControl::Done&);
  absl::Status Do(Change change, const std::string& name) {
    absl::Status status;
    absl::Notification done;
    ((*control_).*change)(name, [&](const absl::Status& outcome) {
      // A copy of its own: libabsl counts references where ThreadSanitizer does not see it.
      status = absl::Status(outcome.code(), outcome.message());
      done.Notify();
    });
    done.WaitForNotification();
    return status;
  }
  absl::Status Load(const std::string& name) { return Do(&RepositoryControl::Load, name); }
  absl::Status Unload(const std::string& name) { return Do(&RepositoryControl::Unload, name); }
  absl::Status Reload(const std::string& name) { return Do(&RepositoryControl::Reload, name); }

  TempFolder state_;
  std::string state_file_;
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
  Remove("cat");
  EXPECT_EQ(Load("cat").code(), Code::kNotFound);
}

TEST_F(ControlTest, LoadThatFailsSaysWhy) {
  Add("cat/1");
  ASSERT_TRUE(Start(ControlMode::kExplicit).ok());
  Add("cat/2", "broken");
  const absl::Status failed = Load("cat");
  EXPECT_EQ(failed.code(), Code::kFailedPrecondition);
  EXPECT_EQ(Message(failed), "model 'cat' version 2: LibTorch rejects it");
  EXPECT_EQ(Load("cat").code(), Code::kFailedPrecondition);
  EXPECT_THAT(Loads(), ElementsAre("broken", "broken"));  // Who asks again is taken at his word.
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
