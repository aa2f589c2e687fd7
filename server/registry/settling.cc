#include "server/registry/settling.h"

#include <algorithm>
#include <utility>

namespace torchd {
namespace {

// Forgets what is no longer seen.
template <typename Known, typename Seen>
void KeepSeen(const Seen& seen, Known& known) {
  for (auto it = known.begin(); it != known.end();) {
    it = seen.count(it->first) > 0 ? std::next(it) : known.erase(it);
  }
}

}  // namespace

template <typename Entry>
void Settling::Update(const Entry& seen, Instant now, Duration settle,
                      Settled<Entry>& settled) const {
  if (settled.entry && settled.entry->fingerprint == seen.fingerprint) {
    settled.since = kNever;
  } else if (settled.since == kNever || settled.fingerprint != seen.fingerprint) {
    settled.since = now;
  }
  settled.fingerprint = seen.fingerprint;
  if (settled.since != kNever && now - settled.since >= settle) {
    settled.entry = seen;
    settled.since = kNever;
  }
}

void Settling::UpdateModel(const ModelOnDisk& seen, Instant now, Duration settle,
                           Model& model) const {
  ModelOnDisk about = seen;
  about.versions.clear();
  Update(about, now, settle, model.about);
  for (const auto& version : seen.versions) {
    Update(version.second, now, settle, model.versions[version.first]);
  }
  auto none = model.versions.extract(0);
  KeepSeen(seen.versions, model.versions);
  // Why there was no version stands until one has settled: a model that is known stays known.
  const bool has_settled =
      std::any_of(model.versions.begin(), model.versions.end(),
                  [](const auto& version) { return version.second.entry.has_value(); });
  if (none.empty() || has_settled) return;
  if (seen.versions.count(0) == 0) none.mapped().since = kNever;
  model.versions.insert(std::move(none));
}

void Settling::Accept(const RepositorySnapshot& seen) {
  models_.clear();
  for (const auto& model : seen.models) {
    UpdateModel(model.second, Instant(), Duration(0), models_[model.first]);
  }
}

RepositorySnapshot Settling::Filter(const RepositorySnapshot& seen, Instant now) {
  for (const auto& model : seen.models) {
    UpdateModel(model.second, now, settle_, models_[model.first]);
  }
  KeepSeen(seen.models, models_);
  return SettledOnes();
}

RepositorySnapshot Settling::SettledOnes() const {
  RepositorySnapshot settled;
  for (const auto& model : models_) {
    if (!model.second.about.entry) continue;
    ModelOnDisk on_disk = *model.second.about.entry;
    for (const auto& version : model.second.versions) {
      if (version.second.entry) on_disk.versions.emplace(version.first, *version.second.entry);
    }
    if (!on_disk.versions.empty()) settled.models.emplace(model.first, std::move(on_disk));
  }
  return settled;
}

Instant Settling::NextDueTime() const {
  Instant due = kNever;
  const auto wait_for = [&](Instant since) {
    if (since != kNever) due = std::min(due, since + settle_);
  };
  for (const auto& model : models_) {
    wait_for(model.second.about.since);
    for (const auto& version : model.second.versions) wait_for(version.second.since);
  }
  return due;
}

}  // namespace torchd
