// A search whose trials are told: what they take, how plans fare, who crashes.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "server/base/clock.h"
#include "server/daemon/plan_search.h"
#include "tests/unit/fakes/temp_folder.h"

namespace torchd {

class PlanSearchTest : public ::testing::Test {
 protected:
  PlanSearchTest() {
    repository_.Write("cat/1/model.pt", "one");
    folder_.name = "cat";
    folder_.version = 1;
    folder_.model_file = repository_.Path("cat/1/model.pt");
  }

  PlanChoice Choose(Duration run = std::chrono::milliseconds(10)) {
    return Search().Choose(folder_, config_, run);
  }

  absl::StatusOr<PlanChoice> SearchNow(const std::string& key) {
    return Search().SearchNow(folder_, config_, key, [this] { return wanted_; });
  }

  PlanSearch Search() {
    return PlanSearch(
        {budget_, fast_start_, threads_}, PlanCache(repository_.Path("cache"), machine_),
        [this](const VersionFolder&, const std::vector<TeamedPlan>& plans,
               std::chrono::milliseconds limit,
               const PlanSearch::Wanted&) { return Try(plans, limit); },
        clock_);
  }

  absl::StatusOr<std::vector<PlanCandidate>> Try(const std::vector<TeamedPlan>& plans,
                                                 std::chrono::milliseconds limit) {
    limits_.push_back(limit);
    if (died_) return absl::UnavailableError("the helper process died");
    std::vector<PlanCandidate> candidates = {Timed(kDefaultPlan, 1)};
    for (const TeamedPlan teamed : plans) {
      const Plan plan = teamed.plan;
      if (teamed.threads > 0) {
        tried_.push_back(absl::StrCat(Name(plan), " on ", teamed.threads));
        if (fewer_.count(teamed.threads) == 0) return absl::InternalError("it crashed");
        candidates.push_back(Timed(plan, fewer_[teamed.threads]));
        candidates.back().threads = teamed.threads;
        continue;
      }
      tried_.push_back(Name(plan));
      if (untried_.count(plan) > 0) {
        candidates.push_back({.plan = plan});
        continue;
      }
      const auto ratio = ratios_.find(plan);
      if (ratio == ratios_.end()) return absl::InternalError("it crashed");
      const bool again = std::count(tried_.begin(), tried_.end(), Name(plan)) > 1;
      candidates.push_back(
          Timed(plan, again && again_.count(plan) > 0 ? again_[plan] : ratio->second));
    }
    clock_.Advance(std::min(takes_, limit));
    if (takes_ > limit) return absl::DeadlineExceededError("it took too long");
    return candidates;
  }

  static PlanCandidate Timed(Plan plan, double ratio) {
    PlanCandidate candidate;
    candidate.plan = plan;
    candidate.state = PlanCandidate::State::kTimed;
    candidate.ratio = ratio;
    candidate.run = std::chrono::microseconds(static_cast<int64_t>(10'000 * ratio));
    return candidate;
  }

  static const PlanCandidate& Of(const PlanChoice& choice, Plan plan) {
    return *std::find_if(choice.candidates.begin(), choice.candidates.end(),
                         [plan](const PlanCandidate& candidate) { return candidate.plan == plan; });
  }

  TempFolder repository_;
  ManualClock clock_;
  VersionFolder folder_;
  ModelConfig config_;
  std::chrono::milliseconds budget_ = std::chrono::seconds(20);
  bool fast_start_ = false;
  bool wanted_ = true;
  bool died_ = false;
  std::chrono::milliseconds takes_ = std::chrono::seconds(2);
  std::string machine_ = "threads 2, LibTorch 2.11.0, a CPU";
  std::map<Plan, double> ratios_ = {{Plan::kGraph, 0.5},  {Plan::kDirect, 1.2},
                                    {Plan::kOneDnn, 0.8}, {Plan::kChannelsLast, 0.9},
                                    {Plan::kSaved, 1.3},  {Plan::kPackage, 0.4}};
  std::set<Plan> untried_;  // For lack of time.
  int threads_ = 1;
  std::map<int, double> fewer_;   // On fewer threads.
  std::map<Plan, double> again_;  // Those tried for the second time.
  std::vector<std::string> tried_;
  std::vector<std::chrono::milliseconds> limits_;
};

}  // namespace torchd
