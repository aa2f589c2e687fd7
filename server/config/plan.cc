#include "server/config/plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace torchd {
namespace {

using State = PlanCandidate::State;

constexpr Plan kPlans[] = {Plan::kSaved, Plan::kFrozen, Plan::kOneDnn, Plan::kChannelsLast,
                           Plan::kGraph, Plan::kDirect, Plan::kBf16,   Plan::kFp16,
                           Plan::kInt8,  Plan::kPackage};
constexpr State kStates[] = {State::kTimed, State::kForbidden, State::kWrong, State::kFailed,
                             State::kUntried};
// Less is noise.
constexpr double kWorthIt = 0.98;
// Fewer threads change the team between the runs of two models, which costs both a little.
constexpr double kWorthFewerThreads = 0.97;

// Of `choice.plan` on fewer threads, if any is so much faster than on all of them.
void TakeFewerThreads(const std::vector<PlanCandidate>& candidates, PlanChoice& choice) {
  double least = 0;
  for (const PlanCandidate& candidate : candidates) {
    const bool whole = candidate.threads == 0 && candidate.state == State::kTimed;
    if (whole && candidate.plan == choice.plan) least = kWorthFewerThreads * candidate.ratio;
  }
  for (const PlanCandidate& candidate : candidates) {
    const bool fewer = candidate.threads > 0 && candidate.state == State::kTimed;
    if (!fewer || candidate.plan != choice.plan || candidate.ratio >= least) continue;
    least = candidate.ratio;
    choice.threads = candidate.threads;
  }
}

}  // namespace

std::string Name(Plan plan) {
  switch (plan) {
    case Plan::kSaved:
      return "saved";
    case Plan::kFrozen:
      return "frozen";
    case Plan::kOneDnn:
      return "onednn";
    case Plan::kChannelsLast:
      return "channels_last";
    case Plan::kGraph:
      return "graph";
    case Plan::kDirect:
      return "direct";
    case Plan::kBf16:
      return "bf16";
    case Plan::kFp16:
      return "fp16";
    case Plan::kInt8:
      return "int8";
    case Plan::kPackage:
      return "package";
  }
  return "";
}

std::optional<Plan> PlanByName(absl::string_view name) {
  for (const Plan plan : kPlans) {
    if (Name(plan) == name) return plan;
  }
  return std::nullopt;
}

std::string PlanNames() {
  std::vector<std::string> names;
  for (const Plan plan : kPlans) names.push_back(Name(plan));
  const std::string last = std::move(names.back());
  names.pop_back();
  return absl::StrCat(absl::StrJoin(names, ", "), " or ", last);
}

bool NeedsTeam(Plan plan) {
  return plan == Plan::kGraph || plan == Plan::kDirect || plan == Plan::kPackage;
}

bool HasFewerBits(Plan plan) {
  return plan == Plan::kBf16 || plan == Plan::kFp16 || plan == Plan::kInt8;
}

std::vector<int> FewerThreads(int threads) {
  std::vector<int> fewer;
  for (int half = threads / 2; half > 0; half /= 2) fewer.push_back(half);
  return fewer;
}

std::string Name(State state) {
  switch (state) {
    case State::kTimed:
      return "timed";
    case State::kForbidden:
      return "forbidden";
    case State::kWrong:
      return "wrong";
    case State::kFailed:
      return "failed";
    case State::kUntried:
      return "untried";
  }
  return "";
}

std::optional<State> PlanStateByName(absl::string_view name) {
  for (const State state : kStates) {
    if (Name(state) == name) return state;
  }
  return std::nullopt;
}

PlanChoice Fastest(std::vector<PlanCandidate> candidates) {
  PlanChoice choice;
  double least = kWorthIt;
  int timed = 0;
  for (const PlanCandidate& candidate : candidates) {
    if (candidate.state != State::kTimed || candidate.threads > 0) continue;
    ++timed;
    if (candidate.plan == kDefaultPlan || candidate.ratio >= least) continue;
    least = candidate.ratio;
    choice.plan = candidate.plan;
  }
  choice.why =
      timed == 0 ? "none could be timed" : absl::StrCat("the fastest of ", timed, " timed");
  TakeFewerThreads(candidates, choice);
  if (choice.threads > 0) {
    absl::StrAppend(&choice.why, ", faster on ", choice.threads,
                    choice.threads == 1 ? " thread" : " threads");
  }
  choice.candidates = std::move(candidates);
  return choice;
}

}  // namespace torchd
