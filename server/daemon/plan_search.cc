#include "server/daemon/plan_search.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/registry/sealed_version.h"

namespace torchd {
namespace {

using State = PlanCandidate::State;

// Shorter runs are mostly the call around them.
constexpr Duration kWorthASearch = std::chrono::microseconds(300);
constexpr std::chrono::milliseconds kTrialMin(500);
// Two runs are close where the shorter takes more than this of the longer.
constexpr double kCloseCall = 0.9;

// Plans that are tried in one process, in turn.
struct Group {
  std::vector<Plan> plans;
  double share = 1;  // Of what is left of the time, at most.
};

// Those that win most come first, for a large model's time may be over before the last; a package,
// which is another file's code, comes apart from the others. What compiles for long, or may never
// end, leaves time for the rest.
std::vector<Group> GroupsOf(const VersionFolder& folder, const ModelConfig& config) {
  constexpr double kLeavesTime = 0.7;
  std::vector<Group> groups = {{{Plan::kDirect}}};
  if (PackageMayServe(folder, config)) groups.push_back({{Plan::kPackage}});
  if (config.plan_difference_max > 0) groups.push_back({{Plan::kBf16, Plan::kFp16, Plan::kInt8}});
  groups.push_back({{Plan::kGraph}, kLeavesTime});
  groups.push_back({{Plan::kOneDnn, Plan::kChannelsLast, Plan::kSaved}});
  return groups;
}

// Of all the bytes that are tried, and how good they must be; empty when they cannot be read.
std::string KeyOf(const VersionFolder& folder, const ModelConfig& config) {
  std::string digest = DigestOf(folder.ModelFile());
  if (!digest.empty() && config.plan_difference_max > 0) {
    absl::StrAppend(&digest, "-within-", config.plan_difference_max);
  }
  if (!digest.empty() && config.plan_threads > 0) {
    absl::StrAppend(&digest, "-on-", config.plan_threads);
  }
  if (digest.empty() || !PackageMayServe(folder, config)) return digest;
  const std::string package = DigestOf(folder.package_file);
  return package.empty() ? package : absl::StrCat(digest, "-", package);
}

// The default runs beside all others; its first times stand for it, before them.
void Append(std::vector<PlanCandidate>& candidates, std::vector<PlanCandidate> tried) {
  const bool has_default = !candidates.empty() && candidates.front().plan == kDefaultPlan;
  for (PlanCandidate& candidate : tried) {
    if (candidate.plan != kDefaultPlan) {
      candidates.push_back(std::move(candidate));
    } else if (!has_default) {
      candidates.insert(candidates.begin(), std::move(candidate));
    }
  }
}

// It says nothing about the plans: the server stops, or nobody waits for them any more.
bool StoppedShort(const absl::Status& why) {
  return absl::IsUnavailable(why) || absl::IsCancelled(why);
}

PlanChoice Without(std::string why, Plan plan = kDefaultPlan) {
  PlanChoice choice;
  choice.plan = plan;
  choice.why = std::move(why);
  return choice;
}

// The times of an earlier search serve under other rules of the owner's as well, unless they allow
// now what was never tried.
bool Serves(const std::vector<PlanCandidate>& known, const ModelConfig& config) {
  return std::all_of(known.begin(), known.end(), [&](const PlanCandidate& candidate) {
    return candidate.state != State::kForbidden || config.plans_forbidden.count(candidate.plan) > 0;
  });
}

std::vector<PlanCandidate> Allowed(std::vector<PlanCandidate> known, const ModelConfig& config) {
  for (PlanCandidate& candidate : known) {
    if (config.plans_forbidden.count(candidate.plan) == 0) continue;
    candidate = {.plan = candidate.plan,
                 .threads = candidate.threads,
                 .state = State::kForbidden,
                 .reason = "the model's configuration forbids it"};
  }
  return known;
}

}  // namespace

PlanSearch::PlanSearch(Options options, PlanCache cache, TryPlans try_plans, const Clock& clock)
    : options_(options),
      cache_(std::move(cache)),
      try_plans_(std::move(try_plans)),
      clock_(clock) {}

PlanChoice PlanSearch::Choose(const VersionFolder& folder, const ModelConfig& config,
                              Duration run) {
  if (folder.model_file.empty() && !folder.package_file.empty()) {
    return Without("a package has one plan", Plan::kPackage);
  }
  if (config.plan) return Without("the model's configuration says so", *config.plan);
  if (options_.budget.count() == 0 || !try_plans_) return Without("nothing is tried here");
  if (run > Duration(0) && run < kWorthASearch) {
    return Without(absl::StrCat("a run takes ",
                                std::chrono::duration_cast<std::chrono::microseconds>(run).count(),
                                " us, too little to be worth a search"));
  }
  const std::string key = KeyOf(folder, config);
  if (auto choice = Known(key, config)) return *std::move(choice);
  if (!config.fast_start.value_or(options_.fast_start)) return Search(folder, config, key, {});
  PlanChoice choice = Without("the default serves while others are tried");
  choice.searching = true;
  choice.key = key;
  return choice;
}

absl::StatusOr<PlanChoice> PlanSearch::SearchNow(const VersionFolder& folder,
                                                 const ModelConfig& config, const std::string& key,
                                                 const Wanted& wanted) {
  if (key.empty() || KeyOf(folder, config) != key) {
    return absl::FailedPreconditionError("its files have changed");
  }
  PlanChoice choice = Search(folder, config, key, wanted);
  if (!wanted()) return absl::CancelledError("the version serves no more");
  return choice;
}

std::optional<PlanChoice> PlanSearch::Known(const std::string& key,
                                            const ModelConfig& config) const {
  auto kept = cache_.Find(key);
  if (!kept || !Serves(*kept, config)) return std::nullopt;
  PlanChoice choice = Fastest(Allowed(*std::move(kept), config));
  choice.why += ", in an earlier search";
  return choice;
}

PlanChoice PlanSearch::Search(const VersionFolder& folder, const ModelConfig& config,
                              const std::string& key, const Wanted& wanted) {
  absl::MutexLock one_at_a_time(&mutex_);
  // Of the same bytes under another name.
  if (auto choice = Known(key, config)) return *std::move(choice);
  std::vector<PlanCandidate> candidates = TryAll(folder, config, wanted);
  if (wanted && !wanted()) return Without("nobody waited for the search");
  // What a busy machine left untried gets its chance at the next load.
  const bool all_tried = std::none_of(
      candidates.begin(), candidates.end(),
      [](const PlanCandidate& candidate) { return candidate.state == State::kUntried; });
  if (all_tried) cache_.Keep(key, candidates);
  PlanChoice choice = Fastest(std::move(candidates));
  const bool none =
      std::none_of(choice.candidates.begin(), choice.candidates.end(),
                   [](const PlanCandidate& candidate) { return candidate.state == State::kTimed; });
  if (none && !choice.candidates.empty()) {
    absl::StrAppend(&choice.why, ": ", choice.candidates.front().reason);
  }
  Log(none ? Severity::kWarning : Severity::kInfo, none ? "plan search failed" : "plan chosen",
      {{"model", folder.name},
       {"version", absl::StrCat(folder.version)},
       {"plan", Name(choice.plan)},
       {"why", choice.why}});
  return choice;
}

std::vector<PlanCandidate> PlanSearch::TryAll(const VersionFolder& folder,
                                              const ModelConfig& config, const Wanted& wanted) {
  const Instant end = clock_.Now() + options_.budget;
  std::vector<PlanCandidate> candidates;
  for (const Group& group : GroupsOf(folder, config)) {
    std::vector<Plan> allowed;
    for (const Plan plan : group.plans) {
      if (config.plans_forbidden.count(plan) == 0) allowed.push_back(plan);
    }
    if (wanted && !wanted()) return candidates;
    const Instant now = clock_.Now();
    const auto share = std::chrono::duration_cast<Duration>((end - now) * group.share);
    Append(candidates, TryGroup(folder, allowed, now + share, wanted));
    for (const Plan plan : group.plans) {
      if (config.plans_forbidden.count(plan) > 0) candidates.push_back({.plan = plan});
    }
  }
  RunOff(folder, candidates, end, wanted);
  if (config.plan_threads == 0) TryFewerThreads(folder, candidates, end, wanted);
  return Allowed(std::move(candidates), config);
}

// Those of different groups ran at different times. Where the two best are close, they run once
// more, in turn.
void PlanSearch::RunOff(const VersionFolder& folder, std::vector<PlanCandidate>& candidates,
                        Instant end, const Wanted& wanted) {
  std::vector<PlanCandidate*> timed;
  for (PlanCandidate& candidate : candidates) {
    const bool other = candidate.plan != kDefaultPlan && candidate.state == State::kTimed;
    if (other && candidate.ratio < 1) timed.push_back(&candidate);
  }
  if (timed.size() < 2 || (wanted && !wanted())) return;
  std::partial_sort(
      timed.begin(), timed.begin() + 2, timed.end(),
      [](const PlanCandidate* a, const PlanCandidate* b) { return a->ratio < b->ratio; });
  if (timed[0]->ratio < kCloseCall * timed[1]->ratio) return;
  for (PlanCandidate& again : TryGroup(folder, {timed[0]->plan, timed[1]->plan}, end, wanted)) {
    if (again.state != State::kTimed) continue;
    for (size_t i = 0; i < 2; ++i) {
      if (again.plan == timed[i]->plan) *timed[i] = again;
    }
  }
}

// The best one once more on all threads, beside itself on fewer. A search whose time is over goes
// without: whose runs are long rather wants more threads. Packages have those that they were
// compiled for.
void PlanSearch::TryFewerThreads(const VersionFolder& folder,
                                 std::vector<PlanCandidate>& candidates, Instant end,
                                 const Wanted& wanted) {
  const Plan best = Fastest(candidates).plan;
  const bool timed =
      std::any_of(candidates.begin(), candidates.end(), [best](const PlanCandidate& candidate) {
        return candidate.plan == best && candidate.state == State::kTimed;
      });
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - clock_.Now());
  if (!timed || best == Plan::kPackage || left < kTrialMin || (wanted && !wanted())) return;
  if (options_.threads == 1) return;
  std::vector<TeamedPlan> plans;
  if (best != kDefaultPlan) plans.emplace_back(best);
  for (const int threads : FewerThreads(options_.threads)) plans.emplace_back(best, threads);
  const auto tried = try_plans_(folder, plans, left, wanted);
  if (!tried.ok()) {
    const State state = StoppedShort(tried.status()) ? State::kUntried : State::kFailed;
    for (const TeamedPlan plan : plans) {
      if (plan.threads == 0) continue;
      candidates.push_back({.plan = plan.plan,
                            .threads = plan.threads,
                            .state = state,
                            .reason = std::string(tried.status().message())});
    }
    return;
  }
  for (const PlanCandidate& again : *tried) {
    if (again.threads > 0) candidates.push_back(again);
    if (again.threads > 0 || again.plan != best || again.state != State::kTimed) continue;
    for (PlanCandidate& candidate : candidates) {
      if (candidate.plan == best && candidate.threads == 0) candidate = again;
    }
  }
}

// One that crashes, hangs or takes too much memory takes its group along; then each is tried alone.
std::vector<PlanCandidate> PlanSearch::TryGroup(const VersionFolder& folder,
                                                const std::vector<Plan>& plans, Instant end,
                                                const Wanted& wanted) {
  if (plans.empty()) return {};
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - clock_.Now());
  absl::Status why = absl::DeadlineExceededError(
      absl::StrCat("the search's ", options_.budget.count(), " ms were over"));
  // Who had much time and did not end would not next time either.
  const bool had_time = left >= options_.budget / 2;
  if (left >= kTrialMin) {
    auto tried = try_plans_(folder, {plans.begin(), plans.end()}, left, wanted);
    if (tried.ok()) return *std::move(tried);
    why = tried.status();
  }
  std::vector<PlanCandidate> candidates;
  for (const Plan plan : plans) {
    if (plans.size() > 1 && !absl::IsDeadlineExceeded(why) && !StoppedShort(why)) {
      Append(candidates, TryGroup(folder, {plan}, end, wanted));
      continue;
    }
    const bool failed = absl::IsDeadlineExceeded(why) ? had_time : !StoppedShort(why);
    candidates.push_back({.plan = plan,
                          .state = failed ? State::kFailed : State::kUntried,
                          .reason = std::string(why.message())});
  }
  return candidates;
}

}  // namespace torchd
