#include "server/daemon/plan_search.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
constexpr double kLeavesTime = 0.8;

// Plans that are tried in one process, in turn.
struct Group {
  std::vector<Plan> plans;
  double share = 1;  // Of what is left of the time, at most.
};

// Those that win most come first and beside each other, for a large model's time may be over before
// the last; a package, which is another file's code, comes apart from the others. What compiles for
// long, or may never end, leaves time for the rest.
std::vector<Group> GroupsOf(const VersionFolder& folder, const ModelConfig& config) {
  std::vector<Group> groups = {{{Plan::kDirect, Plan::kGraph}, kLeavesTime}};
  if (PackageMayServe(folder, config)) groups.push_back({{Plan::kPackage}});
  if (config.plan_difference_max > 0) groups.push_back({{Plan::kBf16, Plan::kFp16, Plan::kInt8}});
  groups.push_back({{Plan::kOneDnn, Plan::kChannelsLast, Plan::kSaved}});
  return groups;
}

// What is tried, and how: the owner's words and the inputs that they lead to.
std::string TermsOf(const ModelConfig& config, int threads) {
  std::string terms =
      absl::StrCat(threads, " of ", config.plan_threads, " within ", config.plan_difference_max,
                   config.rows_per_batch_max > 1 ? " in batches" : "");
  for (const TensorConfig& input : config.inputs) {
    absl::StrAppend(&terms, " ", input.name, " ", input.data_type, " ",
                    absl::StrJoin(input.shape, ","));
  }
  if (config.image)
    absl::StrAppend(&terms, " image ", config.image->crop,
                    config.image->layout == ImageLayout::kHwc ? " last" : "");
  if (config.text) absl::StrAppend(&terms, " text ", absl::StrJoin(config.text->lengths, ","));
  return terms;
}

// Of all the bytes that are tried, and the terms; empty when they cannot be read.
std::string KeyOf(const VersionFolder& folder, const ModelConfig& config, int threads) {
  std::string digest = DigestOf(folder.ModelFile());
  if (digest.empty()) return digest;
  std::string terms = TermsOf(config, threads);
  if (PackageMayServe(folder, config)) {
    const std::string package = DigestOf(folder.package_file);
    if (package.empty()) return "";
    absl::StrAppend(&terms, " ", package);
  }
  constexpr size_t kEnough = 16;
  return absl::StrCat(digest, "-", DigestOfText(terms).substr(0, kEnough));
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

PlanCandidate NotTimed(Plan plan, const absl::Status& why) {
  const bool late = absl::IsDeadlineExceeded(why) || StoppedShort(why);
  return {.plan = plan,
          .state = late ? State::kUntried : State::kFailed,
          .reason = std::string(why.message())};
}

PlanChoice Without(std::string why, Plan plan = kDefaultPlan) {
  PlanChoice choice;
  choice.plan = plan;
  choice.why = std::move(why);
  return choice;
}

bool IsKnown(const PlanCandidate& candidate, const ModelConfig& config) {
  if (candidate.state == State::kForbidden) return config.plans_forbidden.count(candidate.plan) > 0;
  return candidate.state != State::kUntried || candidate.threads > 0;
}

// The times of an earlier search serve under other rules of the owner's as well, unless they allow
// now what was never tried.
bool Serves(const std::vector<PlanCandidate>& known, const ModelConfig& config) {
  return std::all_of(known.begin(), known.end(),
                     [&](const PlanCandidate& candidate) { return IsKnown(candidate, config); });
}

const PlanCandidate* Find(const std::vector<PlanCandidate>& candidates, Plan plan) {
  for (const PlanCandidate& candidate : candidates) {
    if (candidate.plan == plan && candidate.threads == 0) return &candidate;
  }
  return nullptr;
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
  if (config.plan) return Pinned(folder, config, *config.plan);
  if (options_.budget.count() == 0 || !try_plans_) return Without("nothing is tried here");
  if (run > Duration(0) && run < kWorthASearch) {
    return Without(absl::StrCat("a run takes ",
                                std::chrono::duration_cast<std::chrono::microseconds>(run).count(),
                                " us, too little to be worth a search"));
  }
  const std::string key = KeyOf(folder, config, options_.threads);
  if (auto choice = Known(key, config)) return *std::move(choice);
  if (!config.fast_start.value_or(options_.fast_start)) return Search(folder, config, key, {});
  PlanChoice choice = Without("the default serves while others are tried");
  choice.searching = true;
  choice.key = key;
  return choice;
}

PlanChoice PlanSearch::Pinned(const VersionFolder& folder, const ModelConfig& config, Plan plan) {
  PlanChoice choice = Without("the model's configuration says so", plan);
  if (!HasFewerBits(plan) || options_.budget.count() == 0 || !try_plans_) return choice;
  absl::MutexLock one_at_a_time(&mutex_);
  std::string key = KeyOf(folder, config, options_.threads);
  if (!key.empty()) absl::StrAppend(&key, "-", Name(plan));
  auto tried = cache_.Find(key);
  if (!tried) {
    auto now = try_plans_(folder, {plan}, options_.budget, {});
    if (!now.ok()) {
      absl::StrAppend(&choice.why, "; its answers were not compared: ", now.status().message());
      return choice;
    }
    cache_.Keep(key, *now);
    tried = *std::move(now);
  }
  choice.candidates = *std::move(tried);
  return choice;
}

absl::StatusOr<PlanChoice> PlanSearch::SearchNow(const VersionFolder& folder,
                                                 const ModelConfig& config, const std::string& key,
                                                 const Wanted& wanted) {
  if (key.empty() || KeyOf(folder, config, options_.threads) != key) {
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
  const Instant end = clock_.Now() + options_.budget;
  std::vector<PlanCandidate> candidates = TryAll(
      {folder, config, end, wanted}, cache_.Find(key).value_or(std::vector<PlanCandidate>()));
  if (wanted && !wanted()) return Without("nobody waited for the search");
  cache_.Keep(key, candidates);
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

// What a busy machine left untried gets its chance at the next load, and then has the time for
// itself, so that all is known some day.
std::vector<PlanCandidate> PlanSearch::TryAll(const Task& task,
                                              const std::vector<PlanCandidate>& kept) {
  std::vector<PlanCandidate> candidates;
  for (const PlanCandidate& candidate : kept) {
    const bool known = IsKnown(candidate, task.config) && candidate.state != State::kForbidden;
    if (known) candidates.push_back(candidate);
  }
  std::vector<std::vector<Plan>> beside(1);  // First, what an earlier search has compared.
  for (const PlanCandidate& candidate : candidates) beside[0].push_back(candidate.plan);
  for (const Group& group : GroupsOf(task.folder, task.config)) {
    std::vector<Plan> together;
    for (const Plan plan : group.plans) {
      if (task.config.plans_forbidden.count(plan) > 0) {
        if (Find(candidates, plan) == nullptr) candidates.push_back({.plan = plan});
        continue;
      }
      const PlanCandidate* const earlier = Find(kept, plan);
      if (earlier == nullptr || earlier->state == State::kForbidden) together.push_back(plan);
      if (earlier == nullptr || earlier->state != State::kUntried) continue;
      if (!task.IsWanted()) return candidates;
      Append(candidates, TryAlone(task, plan));
    }
    if (together.empty()) continue;
    if (!task.IsWanted()) return candidates;
    auto tried = TryTogether(task, together, group.share);
    if (tried.ok()) {
      beside.push_back(together);
      Append(candidates, *std::move(tried));
      continue;
    }
    const bool each = together.size() > 1 && !StoppedShort(tried.status());
    for (const Plan plan : together) {
      Append(candidates, each ? TryAlone(task, plan)
                              : std::vector<PlanCandidate>{NotTimed(plan, tried.status())});
    }
  }
  RunOff(task, beside, candidates);
  if (task.config.plan_threads == 0) TryFewerThreads(task, candidates);
  return Allowed(std::move(candidates), task.config);
}

// Those of different trials ran at different times. Where the two best are close, they run once
// more, in turn; those `beside` each other have.
void PlanSearch::RunOff(const Task& task, const std::vector<std::vector<Plan>>& beside,
                        std::vector<PlanCandidate>& candidates) {
  std::vector<PlanCandidate*> timed;
  for (PlanCandidate& candidate : candidates) {
    const bool other = candidate.plan != kDefaultPlan && candidate.state == State::kTimed;
    if (other && candidate.ratio < 1 && candidate.threads == 0) timed.push_back(&candidate);
  }
  if (timed.size() < 2 || !task.IsWanted()) return;
  std::partial_sort(
      timed.begin(), timed.begin() + 2, timed.end(),
      [](const PlanCandidate* a, const PlanCandidate* b) { return a->ratio < b->ratio; });
  if (timed[0]->ratio < kCloseCall * timed[1]->ratio) return;
  const std::vector<Plan> best = {timed[0]->plan, timed[1]->plan};
  const bool were_beside =
      std::any_of(beside.begin(), beside.end(), [&best](const std::vector<Plan>& plans) {
        return std::all_of(best.begin(), best.end(), [&plans](Plan plan) {
          return std::count(plans.begin(), plans.end(), plan) > 0;
        });
      });
  if (were_beside) return;
  const auto tried = TryTogether(task, best, 1);
  if (!tried.ok()) return;
  for (const PlanCandidate& again : *tried) {
    if (again.state != State::kTimed) continue;
    for (size_t i = 0; i < 2; ++i) {
      if (again.plan == best[i]) *timed[i] = again;
    }
  }
}

// The best one once more on all threads, beside itself on fewer. A search whose time is over goes
// without: whose runs are long rather wants more threads. Packages have those that they were
// compiled for.
void PlanSearch::TryFewerThreads(const Task& task, std::vector<PlanCandidate>& candidates) {
  const Plan best = Fastest(candidates).plan;
  const PlanCandidate* const of_best = Find(candidates, best);
  if (of_best == nullptr || of_best->state != State::kTimed || best == Plan::kPackage) return;
  if (options_.threads == 1 || task.end - clock_.Now() < kTrialMin || !task.IsWanted()) return;
  candidates.erase(  // Of an earlier search, whose best was another.
      std::remove_if(candidates.begin(), candidates.end(),
                     [](const PlanCandidate& candidate) { return candidate.threads > 0; }),
      candidates.end());
  std::vector<TeamedPlan> plans;
  if (best != kDefaultPlan) plans.emplace_back(best);
  for (const int threads : FewerThreads(options_.threads)) plans.emplace_back(best, threads);
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(task.end - clock_.Now());
  const auto tried = try_plans_(task.folder, plans, left, task.wanted);
  if (!tried.ok()) {
    const bool late = absl::IsDeadlineExceeded(tried.status()) || StoppedShort(tried.status());
    for (const TeamedPlan plan : plans) {
      if (plan.threads == 0) continue;
      candidates.push_back({.plan = plan.plan,
                            .threads = plan.threads,
                            .state = late ? State::kUntried : State::kFailed,
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

absl::StatusOr<std::vector<PlanCandidate>> PlanSearch::TryTogether(const Task& task,
                                                                   const std::vector<Plan>& plans,
                                                                   double share) {
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>((task.end - clock_.Now()) * share);
  if (left >= kTrialMin) {
    return try_plans_(task.folder, {plans.begin(), plans.end()}, left, task.wanted);
  }
  return absl::DeadlineExceededError(
      absl::StrCat("the search's ", options_.budget.count(), " ms were over"));
}

std::vector<PlanCandidate> PlanSearch::TryAlone(const Task& task, Plan plan) {
  // Who had much time and did not end would not next time either.
  const bool had_time = (task.end - clock_.Now()) * kLeavesTime >= options_.budget / 2;
  auto tried = TryTogether(task, {plan}, kLeavesTime);
  const bool late = absl::IsDeadlineExceeded(tried.status());
  if (!tried.ok()) tried = std::vector<PlanCandidate>{NotTimed(plan, tried.status())};
  if (late && had_time) tried->back().state = State::kFailed;
  return *std::move(tried);
}

}  // namespace torchd
