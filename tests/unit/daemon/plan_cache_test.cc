#include "server/daemon/plan_cache.h"

#include "gtest/gtest.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {
namespace {

using std::chrono::microseconds;
using State = PlanCandidate::State;

TEST(PlanCacheTest, CandidatesComeBackAsTheyWere) {
  PlanCandidate candidate;
  candidate.plan = Plan::kChannelsLast;
  candidate.threads = 4;
  candidate.state = State::kFailed;
  candidate.run = microseconds(1234);
  candidate.ratio = 0.75;
  candidate.difference = 2e-6;
  candidate.reason = "it said \"no\"\nin two lines";
  const auto back = DecodeCandidate(EncodeCandidate(candidate));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->plan, candidate.plan);
  EXPECT_EQ(back->threads, candidate.threads);
  EXPECT_EQ(back->state, candidate.state);
  EXPECT_EQ(back->run, candidate.run);
  EXPECT_EQ(back->ratio, candidate.ratio);
  EXPECT_EQ(back->difference, candidate.difference);
  EXPECT_EQ(back->reason, candidate.reason);
  for (const char* const bad :
       {"", "graph", "graph 0 timed 1 1", "warp 0 timed 1 1 1 ", "graph 0 timed -1 1 1 ",
        "graph -1 timed 1 1 1 ", "graph all timed 1 1 1 ", "graph 0 timed 1 inf 1 ",
        "graph 0 timed 1 0 0 "}) {
    EXPECT_FALSE(DecodeCandidate(bad).has_value()) << bad;
  }
}

TEST(PlanCacheTest, DigestIsThatOfTheBytes) {
  const TempFolder folder;
  folder.Write("file", "abc");
  EXPECT_EQ(DigestOf(folder.Path("file")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(DigestOf(folder.Path("none")), "");
}

}  // namespace
}  // namespace torchd
