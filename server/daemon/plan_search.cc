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
// A package, which is another file's code, is tried apart from the others; so is what compiles for
// long, or may never end, and last.
std::vector<std::vector<Plan>> GroupsOf(const VersionFolder& folder, const ModelConfig& config) {
  std::vector<std::vector<Plan>> groups = {{Plan::kOneDnn, Plan::kChannelsLast, Plan::kSaved}};
  if (PackageMayServe(folder, config)) groups.push_back({Plan::kPackage});
  groups.push_back({Plan::kGraph});
  return groups;
}

// Of all the bytes that are tried; empty when they cannot be read.
std::string KeyOf(const VersionFolder& folder, const ModelConfig& config) {
  const std::string digest = DigestOf(folder.ModelFile());
  if (digest.empty() || !PackageMayServe(folder, config)) return digest;
  const std::string package = DigestOf(folder.package_file);
  return package.empty() ? package : absl::StrCat(digest, "-", package);
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
                 .state = State::kForbidden,
                 .reason = "the model's configuration forbids it"};
  }
  return known;
}

}  // namespace

PlanSearch::PlanSearch(std::chrono::milliseconds budget, PlanCache cache, TryPlans try_plans,
                       const Clock& clock)
    : budget_(budget), cache_(std::move(cache)), try_plans_(std::move(try_plans)), clock_(clock) {}

PlanChoice PlanSearch::Choose(const VersionFolder& folder, const ModelConfig& config,
                              Duration run) {
  if (folder.model_file.empty() && !folder.package_file.empty()) {
    return Without("a package has one plan", Plan::kPackage);
  }
  if (config.plan) return Without("the model's configuration says so", *config.plan);
  if (budget_.count() == 0 || !try_plans_) return Without("nothing is tried here");
  if (run > Duration(0) && run < kWorthASearch) {
    return Without(absl::StrCat("a run takes ",
                                std::chrono::duration_cast<std::chrono::microseconds>(run).count(),
                                " us, too little to be worth a search"));
  }
  const std::string key = KeyOf(folder, config);
  const auto known = [&]() -> std::optional<PlanChoice> {
    auto kept = cache_.Find(key);
    if (!kept || !Serves(*kept, config)) return std::nullopt;
    PlanChoice choice = Fastest(Allowed(*std::move(kept), config));
    choice.why += ", in an earlier search";
    return choice;
  };
  if (auto choice = known()) return *std::move(choice);
  absl::MutexLock one_at_a_time(&mutex_);
  if (auto choice = known()) return *std::move(choice);  // Of the same bytes under another name.
  std::vector<PlanCandidate> candidates = TryAll(folder, config);
  // What a busy machine left untried gets its chance at the next load.
  const bool all_tried = std::none_of(
      candidates.begin(), candidates.end(),
      [](const PlanCandidate& candidate) { return candidate.state == State::kUntried; });
  if (all_tried) cache_.Keep(key, candidates);
  PlanChoice choice = Fastest(std::move(candidates));
  Log(Severity::kInfo, "plan chosen",
      {{"model", folder.name},
       {"version", absl::StrCat(folder.version)},
       {"plan", Name(choice.plan)},
       {"why", choice.why}});
  return choice;
}

std::vector<PlanCandidate> PlanSearch::TryAll(const VersionFolder& folder,
                                              const ModelConfig& config) {
  const Instant end = clock_.Now() + budget_;
  std::vector<PlanCandidate> candidates;
  for (const std::vector<Plan>& group : GroupsOf(folder, config)) {
    std::vector<Plan> allowed;
    for (const Plan plan : group) {
      if (config.plans_forbidden.count(plan) == 0) allowed.push_back(plan);
    }
    for (PlanCandidate& candidate : TryGroup(folder, allowed, end)) {
      if (candidate.plan != kDefaultPlan || candidates.empty()) {
        candidates.push_back(std::move(candidate));
      }
    }
    for (const Plan plan : group) {
      if (config.plans_forbidden.count(plan) > 0) candidates.push_back({.plan = plan});
    }
  }
  return Allowed(std::move(candidates), config);
}

// One that crashes, hangs or takes too much memory takes its group along; then each is tried alone.
std::vector<PlanCandidate> PlanSearch::TryGroup(const VersionFolder& folder,
                                                const std::vector<Plan>& plans, Instant end) {
  if (plans.empty()) return {};
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - clock_.Now());
  absl::Status why =
      absl::DeadlineExceededError(absl::StrCat("the search's ", budget_.count(), " ms were over"));
  // Who had much time and did not end would not next time either.
  const bool had_time = left >= budget_ / 2;
  if (left >= kTrialMin) {
    auto tried = try_plans_(folder, plans, left);
    if (tried.ok()) return *std::move(tried);
    why = tried.status();
  }
  std::vector<PlanCandidate> candidates;
  for (const Plan plan : plans) {
    if (plans.size() > 1 && !absl::IsDeadlineExceeded(why)) {
      for (PlanCandidate& candidate : TryGroup(folder, {plan}, end)) {
        if (candidate.plan != kDefaultPlan || candidates.empty()) {
          candidates.push_back(std::move(candidate));
        }
      }
      continue;
    }
    const bool failed = had_time || !absl::IsDeadlineExceeded(why);
    candidates.push_back({.plan = plan,
                          .state = failed ? State::kFailed : State::kUntried,
                          .reason = std::string(why.message())});
  }
  return candidates;
}

}  // namespace torchd
