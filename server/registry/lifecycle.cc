#include "server/registry/lifecycle.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace torchd {
namespace {

bool WantsLoad(const VersionFacts& facts) {
  if (facts.on_disk == 0 || facts.on_disk == facts.serving) return false;
  return facts.failed != facts.on_disk || facts.transient;
}

bool Waits(const VersionFacts& facts, Instant now) {
  return facts.failed != 0 && now < facts.not_before;
}

bool IsDue(const VersionFacts& facts, Instant now) {
  return WantsLoad(facts) && !Waits(facts, now);
}

// Now or soon.
bool CanServe(const VersionFacts& facts, Instant now) {
  return facts.serving != 0 || facts.loading || IsDue(facts, now);
}

bool NeedsStandIn(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now) {
  return !wanted.empty() && std::none_of(wanted.begin(), wanted.end(), [&](int64_t version) {
    const auto found = facts.find(version);
    return found != facts.end() && CanServe(found->second, now);
  });
}

bool HoldsNothing(const ModelFacts::value_type& entry) {
  return entry.second.on_disk == 0 || entry.second.nothing_there;
}

bool Serves(const ModelFacts& facts, int64_t version) {
  const auto found = facts.find(version);
  return found != facts.end() && found->second.serving != 0;
}

}  // namespace

const char* Name(VersionState state) {
  switch (state) {
    case VersionState::kUnknown:
      return "UNKNOWN";
    case VersionState::kLoading:
      return "LOADING";
    case VersionState::kReady:
      return "READY";
    case VersionState::kUnloading:
      return "UNLOADING";
    case VersionState::kUnavailable:
      return "UNAVAILABLE";
  }
  return "?";
}

std::set<int64_t> WantedVersions(const VersionPolicy& policy, const ModelFacts& facts) {
  const auto unfit = facts.find(0);
  if (unfit != facts.end() && unfit->second.on_disk != 0) return {0};
  std::set<int64_t> on_disk;
  for (const auto& [version, fact] : facts) {
    if (fact.on_disk != 0) on_disk.insert(version);
  }
  if (on_disk.empty()) return {};
  if (policy.kind == VersionPolicy::Kind::kSpecific) {
    return {policy.specific.begin(), policy.specific.end()};
  }
  while (policy.kind == VersionPolicy::Kind::kLatest &&
         on_disk.size() > static_cast<size_t>(policy.latest)) {
    on_disk.erase(on_disk.begin());
  }
  return on_disk;
}

VersionLabels PlaceLabels(const VersionLabels& configured, const VersionLabels& before,
                          const ModelFacts& facts) {
  VersionLabels placed = configured;
  for (auto& [label, version] : placed) {
    const auto old = before.find(label);
    const bool stays = !Serves(facts, version) && old != before.end() && Serves(facts, old->second);
    if (stays) version = old->second;
  }
  return placed;
}

void AddLabelled(const VersionLabels& configured, const VersionLabels& placed,
                 const ModelFacts& facts, std::set<int64_t>& wanted) {
  if (std::all_of(facts.begin(), facts.end(), HoldsNothing)) return;
  for (const auto& [label, version] : configured) {
    const auto found = facts.find(version);
    if (found != facts.end() && found->second.on_disk != 0) wanted.insert(version);
    const auto at = placed.find(label);
    const bool moves = at != placed.end() && at->second != version;
    if (moves && Serves(facts, at->second)) wanted.insert(at->second);
  }
}

int64_t StandIn(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now) {
  if (!NeedsStandIn(facts, wanted, now)) return 0;
  int64_t serving = 0, loads = 0;  // The highest.
  for (const auto& [version, fact] : facts) {
    if (fact.serving != 0) serving = version;
    if (version < *wanted.rbegin() && CanServe(fact, now)) loads = version;
  }
  if (serving == 0) return loads;
  return serving < *wanted.rbegin() ? serving : 0;
}

Action NextAction(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now) {
  const auto loading = [](const auto& entry) { return entry.second.loading; };
  if (std::any_of(facts.begin(), facts.end(), loading)) return {};
  bool some_serve = wanted.empty();
  bool none_waits = true;
  for (auto at = wanted.rbegin(); at != wanted.rend(); ++at) {
    const auto found = facts.find(*at);
    if (found == facts.end()) continue;
    const VersionFacts& fact = found->second;
    if (IsDue(fact, now)) return {Action::Kind::kLoad, *at};
    const bool done = fact.serving != 0 || fact.nothing_there;
    some_serve = some_serve || done;
    none_waits = none_waits && (done || fact.on_disk == 0);
  }
  const int64_t stand_in = StandIn(facts, wanted, now);
  if (stand_in != 0 && IsDue(facts.at(stand_in), now)) return {Action::Kind::kLoad, stand_in};
  if (!some_serve || !none_waits) return {};
  for (const auto& [version, fact] : facts) {
    if (fact.serving != 0 && wanted.count(version) == 0) return {Action::Kind::kUnload, version};
  }
  return {};
}

Instant NextRetry(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now) {
  Instant next = kNever;
  const bool needs_stand_in = NeedsStandIn(facts, wanted, now);
  for (const auto& [version, fact] : facts) {
    const bool may_stand_in = needs_stand_in && version < *wanted.rbegin();
    if (wanted.count(version) == 0 && !may_stand_in) continue;
    if (WantsLoad(fact) && Waits(fact, now)) next = std::min(next, fact.not_before);
  }
  return next;
}

Duration RetryDelay(int failures) {
  const int doubled = std::clamp(failures - 1, 0, 6);
  return std::min<Duration>(std::chrono::seconds(1 << doubled), std::chrono::seconds(60));
}

std::string PolicyText(const VersionPolicy& policy) {
  switch (policy.kind) {
    case VersionPolicy::Kind::kLatest:
      return absl::StrCat("the latest ", policy.latest);
    case VersionPolicy::Kind::kAll:
      return "all";
    case VersionPolicy::Kind::kSpecific:
      return absl::StrJoin(policy.specific, ", ");
  }
  return "";
}

}  // namespace torchd
