#include "server/config/plan.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/model_config.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using State = PlanCandidate::State;

PlanCandidate Timed(Plan plan, double ratio) {
  PlanCandidate candidate;
  candidate.plan = plan;
  candidate.state = State::kTimed;
  candidate.ratio = ratio;
  return candidate;
}

TEST(PlanTest, NamesComeBack) {
  for (const Plan plan :
       {Plan::kSaved, Plan::kFrozen, Plan::kOneDnn, Plan::kChannelsLast, Plan::kGraph,
        Plan::kDirect, Plan::kBf16, Plan::kFp16, Plan::kInt8, Plan::kPackage}) {
    EXPECT_EQ(PlanByName(Name(plan)), plan);
  }
  EXPECT_EQ(PlanByName("warp"), std::nullopt);
  EXPECT_EQ(PlanNames(),
            "saved, frozen, onednn, channels_last, graph, direct, bf16, fp16, int8 or package");
  for (const State state :
       {State::kTimed, State::kForbidden, State::kWrong, State::kFailed, State::kUntried}) {
    EXPECT_EQ(PlanStateByName(Name(state)), state);
  }
}

TEST(FastestTest, OnlyWhatWasTimedCounts) {
  PlanCandidate wrong = Timed(Plan::kGraph, 0.1);
  wrong.state = State::kWrong;
  const PlanChoice choice =
      Fastest({Timed(kDefaultPlan, 1), wrong, Timed(Plan::kOneDnn, 0.7), Timed(Plan::kSaved, 0.9)});
  EXPECT_EQ(choice.plan, Plan::kOneDnn);
  EXPECT_EQ(choice.why, "the fastest of 3 timed");
  EXPECT_EQ(choice.candidates.size(), 4u);
}

TEST(FastestTest, TwoPercentAreNoReasonToChange) {
  EXPECT_EQ(Fastest({Timed(kDefaultPlan, 1), Timed(Plan::kGraph, 0.985)}).plan, kDefaultPlan);
  EXPECT_EQ(Fastest({Timed(kDefaultPlan, 1), Timed(Plan::kGraph, 0.975)}).plan, Plan::kGraph);
  EXPECT_EQ(Fastest({}).plan, kDefaultPlan);
}

PlanCandidate On(int threads, PlanCandidate candidate) {
  candidate.threads = threads;
  return candidate;
}

TEST(FewerThreadsTest, HalfAsManyAndSoOn) {
  EXPECT_THAT(FewerThreads(16), ElementsAre(8, 4, 2, 1));
  EXPECT_THAT(FewerThreads(6), ElementsAre(3, 1));
  EXPECT_THAT(FewerThreads(1), ElementsAre());
}

TEST(FastestTest, FewerThreadsOnlyWhereThatIsThreePercentFaster) {
  const auto with = [](std::vector<PlanCandidate> fewer) {
    std::vector<PlanCandidate> all = {Timed(kDefaultPlan, 1), Timed(Plan::kGraph, 0.5)};
    all.insert(all.end(), fewer.begin(), fewer.end());
    return Fastest(all);
  };
  const PlanChoice whole = with({On(1, Timed(Plan::kGraph, 0.49))});
  EXPECT_EQ(whole.teamed(), TeamedPlan(Plan::kGraph, 0));
  EXPECT_EQ(whole.why, "the fastest of 2 timed");
  const PlanChoice two = with({On(2, Timed(Plan::kGraph, 0.4)), On(1, Timed(Plan::kGraph, 0.45))});
  EXPECT_EQ(two.teamed(), TeamedPlan(Plan::kGraph, 2));
  EXPECT_EQ(two.why, "the fastest of 2 timed, faster on 2 threads");
  EXPECT_EQ(with({On(1, Timed(Plan::kGraph, 0.45))}).why,
            "the fastest of 2 timed, faster on 1 thread");
}

TEST(FastestTest, FewerThreadsAreOfThePlanThatIsChosen) {
  const PlanChoice other =
      Fastest({Timed(kDefaultPlan, 1), Timed(Plan::kGraph, 0.5), On(1, Timed(kDefaultPlan, 0.3))});
  EXPECT_EQ(other.teamed(), TeamedPlan(Plan::kGraph, 0));
  const PlanChoice frozen =
      Fastest({Timed(kDefaultPlan, 1), Timed(Plan::kGraph, 1.5), On(1, Timed(kDefaultPlan, 0.9))});
  EXPECT_EQ(frozen.teamed(), TeamedPlan(kDefaultPlan, 1));
  PlanCandidate wrong = On(1, Timed(kDefaultPlan, 0.5));
  wrong.state = State::kFailed;
  EXPECT_EQ(Fastest({Timed(kDefaultPlan, 1), wrong}).threads, 0);
}

TEST(PlanConfigTest, PlanAndForbiddenOnesAreRead) {
  const auto config = ParseModelConfig("plan: channels_last\nplans_forbidden: [graph, saved]\n");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->plan, Plan::kChannelsLast);
  EXPECT_THAT(config->plans_forbidden, ElementsAre(Plan::kSaved, Plan::kGraph));
  EXPECT_EQ(ParseModelConfig("plan: auto\n")->plan, std::nullopt);
  EXPECT_EQ(ParseModelConfig("plan: package\n")->plan, Plan::kPackage);
  EXPECT_EQ(ParseModelConfig("plan: fast_start\n")->plan, std::nullopt);
  EXPECT_EQ(ParseModelConfig("plan: fast_start\n")->fast_start, true);
  EXPECT_EQ(ParseModelConfig("plan: auto\n")->fast_start, false);
  EXPECT_EQ(ParseModelConfig("")->fast_start, std::nullopt);
  EXPECT_THAT(ParseModelConfig("plans_forbidden: [package]\n")->plans_forbidden,
              ElementsAre(Plan::kPackage));
  EXPECT_EQ(ParseModelConfig("")->plan, std::nullopt);
}

TEST(PlanConfigTest, FewerBitsAreAllowedByHowFarAnswersMayBe) {
  EXPECT_EQ(ParseModelConfig("")->plan_difference_max, 0);
  EXPECT_EQ(ParseModelConfig("plan_difference_max: 0.05\n")->plan_difference_max, 0.05);
  EXPECT_EQ(ParseModelConfig("plan: int8\n")->plan, Plan::kInt8);
  for (const char* const wrong : {"0", "1.5", "-1", "nan", "much", "[0.1]", "\"\""}) {
    const auto config = ParseModelConfig(std::string("plan_difference_max: ") + wrong + "\n");
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("above 0, at most 1")) << wrong;
  }
}

TEST(PlanConfigTest, ThreadsMayBePinned) {
  EXPECT_EQ(ParseModelConfig("")->plan_threads, 0);
  EXPECT_EQ(ParseModelConfig("plan: graph\nplan_threads: 3\n")->plan_threads, 3);
  for (const char* const wrong : {"0", "257", "-1", "all", "1.5"}) {
    const auto config = ParseModelConfig(std::string("plan_threads: ") + wrong + "\n");
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("plan_threads")) << wrong;
    EXPECT_THAT(std::string(config.status().message()), HasSubstr("1..256")) << wrong;
  }
  EXPECT_THAT(std::string(ParseModelConfig("plan: package\nplan_threads: 1\n").status().message()),
              HasSubstr("both plan_threads and plan: package are set"));
}

TEST(PlanConfigTest, MistakesAreNamed) {
  const auto error = [](const char* yaml) {
    return std::string(ParseModelConfig(yaml).status().message());
  };
  EXPECT_THAT(error("plan: warp\n"), HasSubstr("\"warp\""));
  EXPECT_THAT(error("plans_forbidden: graph\n"), HasSubstr("a list of plans"));
  EXPECT_THAT(error("plans_forbidden: [graph, warp]\n"), HasSubstr("plans_forbidden[1]"));
  EXPECT_THAT(error("plans_forbidden: [frozen]\n"), HasSubstr("another than 'frozen'"));
  // Served silently until a reviewer tried it, in either order.
  EXPECT_EQ(
      error("plan: graph\nplans_forbidden: [onednn, graph]\n"),
      "model.yaml:2: plans_forbidden has graph, and plan is graph; expected another for one of "
      "them");
  EXPECT_THAT(error("plans_forbidden: [int8]\nplan: int8\n"), HasSubstr("plan is int8"));
  EXPECT_EQ(error("plan: graph\nplans_forbidden: [onednn]\n"), "");
}

}  // namespace
}  // namespace torchd
