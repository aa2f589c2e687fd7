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
  std::set<int64_t> wanted;
  for (auto at = facts.rbegin(); at != facts.rend(); ++at) {
    const auto& [version, fact] = *at;
    if (fact.on_disk == 0) continue;
    const bool asked = policy.kind == VersionPolicy::Kind::kAll ||
                       (policy.kind == VersionPolicy::Kind::kLatest &&
                        wanted.size() < static_cast<size_t>(policy.latest)) ||
                       (policy.kind == VersionPolicy::Kind::kSpecific &&
                        std::count(policy.specific.begin(), policy.specific.end(), version) > 0);
    if (asked) wanted.insert(version);
  }
  return wanted;
}

Action NextAction(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now) {
  const auto loading = [](const auto& entry) { return entry.second.loading; };
  if (std::any_of(facts.begin(), facts.end(), loading)) return {};
  for (auto at = wanted.rbegin(); at != wanted.rend(); ++at) {
    const VersionFacts& fact = facts.at(*at);
    if (WantsLoad(fact) && !Waits(fact, now)) return {Action::Kind::kLoad, *at};
  }
  const bool all_serve = std::all_of(wanted.begin(), wanted.end(), [&](int64_t version) {
    return facts.at(version).serving != 0;
  });
  if (!all_serve) return {};
  for (const auto& [version, fact] : facts) {
    if (fact.serving != 0 && wanted.count(version) == 0) return {Action::Kind::kUnload, version};
  }
  return {};
}

Instant NextRetry(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now) {
  Instant next = kNever;
  for (const int64_t version : wanted) {
    const VersionFacts& fact = facts.at(version);
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
