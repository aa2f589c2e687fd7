#include "server/registry/loaders.h"

#include <atomic>
#include <string>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using std::chrono::hours;
using ::testing::ElementsAre;

// What ran, in order. Threads of the loaders add to it.
class Journal {
 public:
  void Add(const std::string& line) {
    absl::MutexLock lock(&mutex_);
    lines_.push_back(line);
  }
  std::vector<std::string> Await(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&] { return lines_.size() >= count; };
    mutex_.Await(absl::Condition(&enough));
    return lines_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::string> lines_;
};

TEST(LoadersTest, RunsAllThatWasAcceptedInItsOrder) {
  std::vector<int> order;
  {
    Loaders loaders({.places = 1, .patience = hours(1)});
    for (int i = 0; i < 100; ++i) loaders.Submit([&order, i] { order.push_back(i); });
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order.at(i), i);
  EXPECT_EQ(order.size(), 100);
}

TEST(LoadersTest, AsManyRunSideBySideAsThereArePlaces) {
  absl::Notification first;
  absl::Notification second;
  Loaders loaders({.places = 2, .patience = hours(1)});
  loaders.Submit([&] {
    first.Notify();
    second.WaitForNotification();
  });
  loaders.Submit([&] {
    first.WaitForNotification();
    second.Notify();
  });
}

TEST(LoadersTest, NoMoreRunThanThereArePlaces) {
  std::atomic<int> running{0};
  Loaders loaders({.places = 2, .patience = hours(1)});
  for (int i = 0; i < 500; ++i) {
    loaders.Submit([&] {
      EXPECT_LE(++running, 2);
      loaders.Aside([] {});  // A short wait keeps the place.
      --running;
    });
  }
}

// Two archives that hung in their trials held up all others for a minute.
TEST(LoadersTest, WhoWaitsLongLetsTheNextOneIn) {
  Journal journal;
  absl::Notification go;
  {
    Loaders loaders({.places = 1, .patience = Duration::zero()});
    for (int i = 0; i < 3; ++i) {
      loaders.Submit([&] {
        loaders.Aside([&] { go.WaitForNotification(); });
        journal.Add("waited");
      });
    }
    loaders.Submit([&] { journal.Add("quick"); });
    EXPECT_THAT(journal.Await(1), ElementsAre("quick"));
    go.Notify();
  }
  EXPECT_THAT(journal.Await(4), ElementsAre("quick", "waited", "waited", "waited"));
}

TEST(LoadersTest, PlaceIsGivenUpOnceTimeHasPassed) {
  absl::Notification go;
  Loaders loaders({.places = 1, .patience = std::chrono::milliseconds(5)});
  loaders.Submit([&] { loaders.Aside([&] { go.WaitForNotification(); }); });
  loaders.Submit([&] { go.Notify(); });  // Else this test never ends.
}

TEST(LoadersTest, WhoHasWaitedTakesAPlaceBeforeItGoesOn) {
  Journal journal;
  absl::Notification go;
  absl::Notification busy;
  absl::Notification free;
  {
    Loaders loaders({.places = 1, .patience = Duration::zero()});
    loaders.Submit([&] {
      loaders.Aside([&] { go.WaitForNotification(); });
      journal.Add("waited");
    });
    loaders.Submit([&] {
      busy.Notify();
      go.Notify();
      free.WaitForNotification();
      journal.Add("busy");
    });
    busy.WaitForNotification();
    free.Notify();
  }
  EXPECT_THAT(journal.Await(2), ElementsAre("busy", "waited"));
}

TEST(LoadersTest, ThoseAsideAreLimited) {
  Journal journal;
  std::atomic<int> waiting{0};
  absl::Notification go;
  Loaders loaders({.places = 1, .aside_max = 2, .patience = Duration::zero()});
  for (int i = 0; i < 10; ++i) {
    loaders.Submit([&] {
      loaders.Aside([&] {
        EXPECT_LE(++waiting, 3);
        journal.Add("waits");
        go.WaitForNotification();
        --waiting;
      });
    });
  }
  journal.Await(3);
  go.Notify();
}

}  // namespace
}  // namespace torchd
