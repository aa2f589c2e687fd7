// A version that serves by the default plan while others are tried.
#include <functional>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/registry/registry_fixture.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class RegistryPlansTest : public RegistryFixture {
 protected:
  RegistryPlansTest() {
    Add("cat/1");
    plan_ = [](const VersionFolder&, const ModelConfig&, const Trial&) {
      PlanChoice choice;
      choice.why = "others are tried";
      choice.searching = true;
      choice.key = "the bytes";
      return choice;
    };
    search_ = [this](const VersionFolder&, const ModelConfig&, const PlanChoice& begun,
                     const std::function<bool()>& wanted) -> absl::StatusOr<PlanChoice> {
      EXPECT_EQ(begun.key, "the bytes");
      if (!begun_.HasBeenNotified()) begun_.Notify();
      while (wanted() && !may_end_.HasBeenNotified()) std::this_thread::yield();
      if (!wanted()) return absl::CancelledError("not wanted");
      return found_;
    };
  }

  // The plans are no more searched for.
  PlanChoice AwaitPlan() {
    while (StatusOf("cat", 1).plan.searching) std::this_thread::yield();
    return StatusOf("cat", 1).plan;
  }

  static PlanChoice Found(Plan plan) {
    PlanChoice choice;
    choice.plan = plan;
    choice.why = "the fastest";
    return choice;
  }

  absl::StatusOr<PlanChoice> found_ = Found(Plan::kGraph);
  absl::Notification begun_;
  absl::Notification may_end_;
};

TEST_F(RegistryPlansTest, ServesAtOnceAndByABetterPlanLater) {
  ShowAndSettle();  // The search is not waited for.
  begun_.WaitForNotification();
  EXPECT_EQ(State("cat", 1), VersionState::kReady);
  EXPECT_EQ(StatusOf("cat", 1).plan.why, "others are tried");
  ModelHandle before = *registry().Lookup("cat", {});
  may_end_.Notify();
  EXPECT_EQ(AwaitPlan().plan, Plan::kGraph);
  EXPECT_EQ(StatusOf("cat", 1).plan.why, "the fastest");
  EXPECT_EQ(Reason("cat", 1), "");
  ModelHandle after = *registry().Lookup("cat", {});
  EXPECT_NE(before, after);
  EXPECT_EQ(after->plan.plan, Plan::kGraph);
  EXPECT_THAT(Loads(), ElementsAre("good", "good"));
  EXPECT_TRUE(Ended().empty());  // A call still holds the first.
  before.reset();
  after.reset();
  Settle("cat");
  EXPECT_THAT(Ended(), ElementsAre("good on unload-0"));
}

TEST_F(RegistryPlansTest, WhereTheDefaultIsTheBestNothingIsLoadedAgain) {
  found_ = Found(kDefaultPlan);
  may_end_.Notify();
  ShowAndSettle();
  EXPECT_EQ(AwaitPlan().why, "the fastest");
  EXPECT_THAT(Loads(), ElementsAre("good"));
}

TEST_F(RegistryPlansTest, TheDefaultOnFewerThreadsIsLoadedAgain) {
  found_ = Found(kDefaultPlan);
  found_->threads = 1;
  may_end_.Notify();
  ShowAndSettle();
  EXPECT_EQ(AwaitPlan().threads, 1);
  EXPECT_THAT(Loads(), ElementsAre("good", "good"));
}

TEST_F(RegistryPlansTest, AFailedSearchChangesNothingButWhatIsTold) {
  found_ = absl::InternalError("no luck");
  may_end_.Notify();
  ShowAndSettle();
  EXPECT_EQ(AwaitPlan().why, "no other plan was found: no luck");
  EXPECT_EQ(State("cat", 1), VersionState::kReady);
  EXPECT_THAT(Loads(), ElementsAre("good"));
}

TEST_F(RegistryPlansTest, ABetterPlanThatDoesNotLoadChangesNothingEither) {
  refused_ = Plan::kGraph;
  may_end_.Notify();
  ShowAndSettle();
  EXPECT_EQ(AwaitPlan().why, "'graph' would be faster, but it does not run so");
  EXPECT_EQ(StatusOf("cat", 1).plan.plan, kDefaultPlan);
  EXPECT_EQ(State("cat", 1), VersionState::kReady);
  EXPECT_EQ(Reason("cat", 1), "");
}

TEST_F(RegistryPlansTest, WithoutMemoryForTwoTheFirstServesOn) {
  memory_bytes_max_ = 12;  // The file has four bytes, and counts with eight while it loads.
  may_end_.Notify();
  ShowAndSettle();
  EXPECT_THAT(AwaitPlan().why, HasSubstr("'graph' would be faster, but "));
  EXPECT_EQ(StatusOf("cat", 1).plan.plan, kDefaultPlan);
  EXPECT_THAT(Loads(), ElementsAre("good"));
  EXPECT_EQ(registry().memory().reserved(), 8);
}

TEST_F(RegistryPlansTest, AVersionThatIsUnloadedIsSearchedForNoMore) {
  ShowAndSettle();
  begun_.WaitForNotification();
  Remove("cat");
  ShowAndSettle();  // Does not wait for the search, which would not end by itself.
  registry().Stop();
  EXPECT_THAT(Loads(), ElementsAre("good"));
}

TEST_F(RegistryPlansTest, AVersionThatIsReplacedIsSearchedForAnew) {
  ShowAndSettle();
  begun_.WaitForNotification();
  Add("cat/1", "other");
  ShowAndSettle();
  may_end_.Notify();
  EXPECT_EQ(AwaitPlan().plan, Plan::kGraph);
  EXPECT_THAT(Loads(), ElementsAre("good", "other", "other"));
}

TEST_F(RegistryPlansTest, TheEndDoesNotWaitForASearch) {
  ShowAndSettle();
  begun_.WaitForNotification();
  registry().Stop();
  EXPECT_THAT(Loads(), ElementsAre("good"));
}

}  // namespace
}  // namespace torchd
