// What a registry is told: what is on disk, what is asked for. registry.cc does what follows.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/registry/registry.h"

namespace torchd {
namespace {

// Those that are new.
void LogNotes(const std::string& model, const std::vector<std::string>& before,
              const std::vector<std::string>& now) {
  for (const std::string& note : now) {
    if (std::find(before.begin(), before.end(), note) != before.end()) continue;
    Log(Severity::kWarning, "model note", {{"model", model}, {"note", note}});
  }
}

}  // namespace

// --- What is on disk. ---

void Registry::SetFolder(const VersionFolder& folder, Version& version) {
  version.folder = folder;
  version.facts.nothing_there = folder.version == 0 && absl::IsNotFound(folder.status);
  // Never 0, which means absent; and another number after each forced reload.
  version.facts.on_disk = std::max<uint64_t>(1, folder.fingerprint + version.reloads);
}

void Registry::Update(const ModelOnDisk* model, Entry& entry) {
  for (auto& [number, version] : entry.versions) {
    if (model == nullptr || model->versions.count(number) == 0) version.facts.on_disk = 0;
  }
  if (model == nullptr) return;
  for (const auto& [number, folder] : model->versions) SetFolder(folder, entry.versions[number]);
  LogNotes(model->name, entry.about.notes, model->notes);
  const std::vector<std::string> moves = LabelNotes(entry);
  ModelOnDisk about = *model;
  about.versions.clear();
  if (!about.status.ok()) {  // It says nothing, so the last word stands.
    about.policy = std::move(entry.about.policy);
    about.version_labels = std::move(entry.about.version_labels);
  }
  entry.about = std::move(about);
  MoveLabels(entry);
  LogNotes(model->name, moves, LabelNotes(entry));
}

void Registry::MoveLabels(Entry& entry) {
  VersionLabels placed = PlaceLabels(entry.about.version_labels, entry.labels, FactsOf(entry));
  for (const auto& [label, version] : placed) {
    const auto before = entry.labels.find(label);
    if (before == entry.labels.end() || before->second == version) continue;
    Log(Severity::kInfo, "label moved",
        {{"model", entry.about.name}, {"label", label}, {"version", absl::StrCat(version)}});
  }
  entry.labels = std::move(placed);
}

// None where there is nothing to list of it.
const ModelOnDisk* Registry::Find(const RepositorySnapshot& repository, const std::string& name) {
  const auto found = repository.models.find(name);
  if (found == repository.models.end() || found->second.versions.empty()) return nullptr;
  return &found->second;
}

void Registry::SetRepository(const RepositorySnapshot& repository) {
  std::vector<std::string> names;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, model] : repository.models) {
      if (!model.versions.empty()) models_[name];
    }
    for (auto& [name, entry] : models_) {
      Update(Find(repository, name), entry);
      names.push_back(name);
    }
  }
  for (const std::string& name : names) Advance(name);
}

void Registry::Renew(Anew anew, Version& version) {
  if (anew == Anew::kChanged) return;
  version.facts.failed = 0;
  version.failures = 0;
  const bool unchanged =
      version.facts.serving != 0 && version.facts.serving == version.facts.on_disk;
  if (anew != Anew::kAll || !unchanged) return;
  ++version.reloads;
  SetFolder(VersionFolder(version.folder), version);
}

void Registry::SetModel(const std::string& name, const RepositorySnapshot& repository, Anew anew) {
  {
    absl::MutexLock lock(&mutex_);
    const ModelOnDisk* const found = Find(repository, name);
    if (found == nullptr && models_.count(name) == 0) return;
    Entry& entry = models_[name];
    Update(found, entry);
    for (auto& version : entry.versions) Renew(anew, version.second);
  }
  Advance(name);
}

// --- What is wanted. ---

ModelFacts Registry::FactsOf(const Entry& entry) {
  ModelFacts facts;
  for (const auto& [number, version] : entry.versions) facts[number] = version.facts;
  return facts;
}

std::set<int64_t> Registry::WantedOf(const Entry& entry, const ModelFacts& facts) const {
  if (parts_.on_demand && !entry.asked) return {};
  std::set<int64_t> wanted = WantedVersions(entry.about.policy, facts);
  AddLabelled(entry.about.version_labels, entry.labels, facts, wanted);
  return wanted;
}

void Registry::Ask(const std::string& name, bool asked) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = models_.find(name);
    if (found == models_.end()) return;
    found->second.asked = asked;
  }
  Advance(name);
}

void Registry::WhenSettled(const std::string& name, std::function<void()> done) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = models_.find(name);
    if (found != models_.end() && !Settled(found->second)) {
      found->second.waiting.push_back(std::move(done));
      return;
    }
  }
  done();
}

bool Registry::Due(const Entry& entry) const {
  const ModelFacts facts = FactsOf(entry);
  return NextAction(facts, WantedOf(entry, facts), parts_.clock->Now()).kind != Action::Kind::kNone;
}

bool Registry::LeftUndone(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  const auto found = models_.find(name);
  return stopping_ && found != models_.end() && Due(found->second);
}

bool Registry::Settled(const Entry& entry) const {
  const bool busy = std::any_of(entry.versions.begin(), entry.versions.end(), [](const auto& at) {
    return at.second.facts.loading || at.second.draining > 0;
  });
  if (busy) return false;
  return stopping_ || !Due(entry);  // At the end, what is due never will be done.
}

bool Registry::settled() const {
  absl::MutexLock lock(&mutex_);
  return std::all_of(models_.begin(), models_.end(), [this](const auto& model) {
    mutex_.AssertHeld();
    return Settled(model.second);
  });
}

bool Registry::Knows(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  return models_.count(name) > 0;
}

void Registry::Tick() {
  std::vector<std::string> names;
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [name, entry] : models_) names.push_back(name);
  }
  for (const std::string& name : names) Advance(name);
}

Instant Registry::NextDueTime() const {
  absl::MutexLock lock(&mutex_);
  const Instant now = parts_.clock->Now();
  Instant due = kNever;
  for (const auto& [name, entry] : models_) {
    const ModelFacts facts = FactsOf(entry);
    due = std::min(due, NextRetry(facts, WantedOf(entry, facts), now));
  }
  return due;
}

}  // namespace torchd
