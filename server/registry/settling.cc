#include "server/registry/settling.h"

#include <algorithm>
#include <utility>

namespace torchd {
namespace {

template <typename Map>
const typename Map::mapped_type* Find(const Map& map, const typename Map::key_type& key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : &found->second;
}

}  // namespace

template <typename Entry>
void Settling::Update(const Entry* seen, Instant now, Duration settle, Settled<Entry>& settled) {
  std::optional<uint64_t> fingerprint, before;
  if (seen != nullptr) fingerprint = seen->fingerprint;
  if (settled.entry) before = settled.entry->fingerprint;
  if (fingerprint == before) {
    settled.since = kNever;
  } else if (settled.since == kNever || settled.fingerprint != fingerprint) {
    settled.since = now;
  }
  settled.fingerprint = fingerprint;
  if (settled.since == kNever || now - settled.since < settle) return;
  settled.entry.reset();
  if (seen != nullptr) settled.entry = *seen;
  settled.since = kNever;
}

// While nobody can tell what they are, they stay as they last were.
void Settling::Pause(Versions& versions) {
  for (auto& version : versions) version.second.since = kNever;
  std::erase_if(versions, [](const auto& version) { return version.second.forgotten(); });
}

void Settling::UpdateVersions(const ModelOnDisk& seen, Instant now, Duration settle,
                              Versions& versions) {
  // Version 0 stands for all of a folder that cannot be read or holds none. It takes their place
  // once it has settled; then one of them has to settle before it goes: a model that is known stays
  // known.
  auto none = versions.extract(0);
  if (const VersionFolder* unfit = Find(seen.versions, 0); unfit != nullptr) {
    Settled<VersionFolder> zero = none.empty() ? Settled<VersionFolder>() : none.mapped();
    Update(unfit, now, settle, zero);
    zero.entry ? versions.clear() : Pause(versions);
    versions.emplace(0, std::move(zero));
    return;
  }
  for (const auto& version : seen.versions) versions[version.first];
  for (auto& version : versions) {
    Update(Find(seen.versions, version.first), now, settle, version.second);
  }
  std::erase_if(versions, [](const auto& version) { return version.second.forgotten(); });
  const bool has_settled = std::any_of(versions.begin(), versions.end(), [](const auto& version) {
    return version.second.entry.has_value();
  });
  if (has_settled || none.empty() || !none.mapped().entry) return;
  none.mapped().since = kNever;
  versions.insert(std::move(none));
}

void Settling::UpdateModel(const ModelOnDisk* seen, Instant now, Duration settle, Model& model) {
  if (seen == nullptr) {
    Update<ModelOnDisk>(nullptr, now, settle, model.about);
    return Pause(model.versions);
  }
  ModelOnDisk about = *seen;
  about.versions.clear();
  Update(&about, now, settle, model.about);
  UpdateVersions(*seen, now, settle, model.versions);
}

void Settling::Accept(const RepositorySnapshot& seen) {
  models_.clear();
  for (const auto& model : seen.models) AcceptModel(model.first, seen);
}

void Settling::AcceptModel(const std::string& name, const RepositorySnapshot& seen) {
  models_.erase(name);
  const ModelOnDisk* found = Find(seen.models, name);
  if (found != nullptr) UpdateModel(found, Instant(), Duration(0), models_[name]);
}

RepositorySnapshot Settling::Filter(const RepositorySnapshot& seen, Instant now) {
  for (const auto& model : seen.models) models_[model.first];
  for (auto& model : models_) {
    UpdateModel(Find(seen.models, model.first), now, settle_, model.second);
  }
  std::erase_if(models_, [](const auto& model) { return model.second.about.forgotten(); });
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
