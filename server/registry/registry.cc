#include "server/registry/registry.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"

namespace torchd {
namespace {

void LogLoaded(const VersionFolder& folder, const absl::Status& status, Duration load_time) {
  const std::string version = absl::StrCat(folder.version);
  if (status.ok()) {
    Log(Severity::kInfo, "model ready",
        {{"model", folder.name},
         {"version", version},
         {"load_ms", absl::StrCat(Microseconds(load_time) / 1000)}});
  } else {
    Log(Severity::kError, "model unavailable",
        {{"model", folder.name},
         {"version", version},
         {"path", folder.ModelFile()},
         {"reason", std::string(status.message())}});
  }
}

// What may pass though the files stay as they are.
bool MayPass(const absl::Status& status) {
  return status.code() == absl::StatusCode::kResourceExhausted ||
         status.code() == absl::StatusCode::kUnavailable;
}

void LogNotes(const ModelOnDisk& before, const ModelOnDisk& now) {
  for (const std::string& note : now.notes) {
    const auto& old = before.notes;
    if (std::find(old.begin(), old.end(), note) != old.end()) continue;
    Log(Severity::kWarning, "model note", {{"model", now.name}, {"note", note}});
  }
}

}  // namespace

Registry::Registry(Parts parts)
    : parts_(std::move(parts)),
      memory_(parts_.memory_bytes_max),
      reaper_(std::make_unique<Reaper>()),
      loaders_(std::make_unique<ThreadPool>(
          "load", ThreadPool::Limits{parts_.load_threads, std::numeric_limits<int>::max()})) {}

void Registry::Stop() {
  {
    absl::MutexLock lock(&mutex_);  // Whoever holds it may be about to hand over one more load.
    stopping_ = true;
  }
  loaders_.reset();
  Models models;
  {
    absl::MutexLock lock(&mutex_);
    models.swap(models_);
  }
  models.clear();   // The handles go to the reaper,
  reaper_.reset();  // which ends before what its last words would touch.
}

void Registry::StopLoading() {
  stopping_ = true;
  Tick();  // Nobody waits for what will not be done.
}

Registry::~Registry() { Stop(); }

// --- What is on disk. ---

void Registry::SetFolder(const VersionFolder& folder, Version& version) {
  version.folder = folder;
  // Never 0, which means absent; and another number after each forced reload.
  version.facts.on_disk = std::max<uint64_t>(1, folder.fingerprint + version.reloads);
}

void Registry::Update(const ModelOnDisk* model, Entry& entry) {
  for (auto& [number, version] : entry.versions) {
    if (model == nullptr || model->versions.count(number) == 0) version.facts.on_disk = 0;
  }
  if (model != nullptr) {
    LogNotes(entry.about, *model);
    for (const auto& [number, folder] : model->versions) SetFolder(folder, entry.versions[number]);
    entry.about = *model;
    entry.about.versions.clear();
  }
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

void Registry::SetModel(const std::string& name, const RepositorySnapshot& repository) {
  {
    absl::MutexLock lock(&mutex_);
    const ModelOnDisk* const found = Find(repository, name);
    if (found == nullptr && models_.count(name) == 0) return;
    Update(found, models_[name]);
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
  for (const auto& label : entry.about.version_labels) {  // A label wants its version, too.
    const auto found = facts.find(label.second);
    if (found != facts.end() && found->second.on_disk != 0) wanted.insert(label.second);
  }
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

void Registry::Retry(const std::string& name, bool reload) {
  {
    absl::MutexLock lock(&mutex_);
    const auto found = models_.find(name);
    if (found == models_.end()) return;
    for (auto& [number, version] : found->second.versions) {
      version.facts.failed = 0;
      version.failures = 0;
      if (!reload || version.facts.on_disk == 0) continue;
      ++version.reloads;
      SetFolder(VersionFolder(version.folder), version);
    }
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

bool Registry::Settled(const Entry& entry) const {
  const ModelFacts facts = FactsOf(entry);
  const bool busy = std::any_of(entry.versions.begin(), entry.versions.end(), [](const auto& at) {
    return at.second.facts.loading || at.second.draining > 0;
  });
  if (busy) return false;
  if (stopping_) return true;  // What is due never will be done.
  return NextAction(facts, WantedOf(entry, facts), parts_.clock->Now()).kind == Action::Kind::kNone;
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

// --- What is done. ---

void Registry::Act(Entry& entry, std::vector<ModelHandle>& dropped) {
  while (!stopping_) {
    const ModelFacts facts = FactsOf(entry);
    const Action action = NextAction(facts, WantedOf(entry, facts), parts_.clock->Now());
    if (action.kind == Action::Kind::kNone) return;
    Version& version = entry.versions.at(action.version);
    if (action.kind == Action::Kind::kLoad) {
      version.facts.loading = true;
      Task task{version.folder, version.facts.on_disk};
      const bool taken = loaders_->Submit([this, task = std::move(task)] { Load(task); });
      TORCHD_CHECK(taken);
      return;
    }
    version.facts.serving = 0;
    version.unloaded = true;
    ++version.draining;
    dropped.push_back(std::move(version.servable));
    version.servable = nullptr;
    Log(Severity::kInfo, "model unloading",
        {{"model", entry.about.name}, {"version", absl::StrCat(action.version)}});
  }
}

void Registry::DropAbsent(Entry& entry) {
  for (auto at = entry.versions.begin(); at != entry.versions.end();) {
    const VersionFacts& facts = at->second.facts;
    const bool absent =
        facts.on_disk == 0 && facts.serving == 0 && !facts.loading && at->second.draining == 0;
    at = absent ? entry.versions.erase(at) : std::next(at);
  }
}

void Registry::Advance(const std::string& name) {
  std::vector<ModelHandle> dropped;  // Let go without the mutex.
  std::vector<std::function<void()>> settled;
  {
    absl::MutexLock lock(&mutex_);
    const auto found = models_.find(name);
    if (found == models_.end()) return;
    Act(found->second, dropped);
    // Only here, so that no model is ever seen without a version.
    DropAbsent(found->second);
    dropped.push_back(std::exchange(found->second.current, CurrentOf(found->second)));
    if (Settled(found->second)) settled.swap(found->second.waiting);
    if (found->second.versions.empty()) models_.erase(found);
  }
  Tell(name);
  dropped.clear();
  for (const auto& done : settled) done();
}

void Registry::Load(const Task& task) {
  if (stopping_) return Abandon(task);
  parts_.arrival.prepare_thread();
  const Instant start = parts_.clock->Now();
  auto made = Arrive(task.folder, parts_.arrival, memory_, *parts_.metrics);
  Finish(task, std::move(made), parts_.clock->Now() - start);
}

void Registry::Abandon(const Task& task) {
  {
    absl::MutexLock lock(&mutex_);
    models_.at(task.folder.name).versions.at(task.folder.version).facts.loading = false;
  }
  Advance(task.folder.name);
}

void Registry::Finish(const Task& task, absl::StatusOr<std::unique_ptr<Servable>> made,
                      Duration load_time) {
  const std::string& name = task.folder.name;
  const int64_t number = task.folder.version;
  LogLoaded(task.folder, made.status(), load_time);
  parts_.metrics->CountLoad(name, made.status().code());
  ModelHandle old;  // Let go without the mutex, as is what was current.
  ModelHandle was_current;
  {
    absl::MutexLock lock(&mutex_);
    Entry& entry = models_.at(name);  // Loading kept it.
    Version& version = entry.versions.at(number);
    VersionFacts& facts = version.facts;
    facts.loading = false;
    if (made.ok()) {
      old = std::exchange(version.servable, reaper_->Own(*std::move(made), [this, name, number] {
        OnGone(name, number);
      }));
      if (old != nullptr) ++version.draining;
      facts.serving = task.fingerprint;
      facts.failed = 0;
      version.failures = 0;
      version.unloaded = false;
      version.reason.clear();
      version.load_time = load_time;
      was_current = std::exchange(entry.current, CurrentOf(entry));
    } else {
      facts.failed = task.fingerprint;
      facts.transient = MayPass(made.status());
      facts.not_before = parts_.clock->Now() + RetryDelay(++version.failures);
      version.reason = std::string(made.status().message());
    }
  }
  old.reset();
  was_current.reset();
  Advance(name);
}

void Registry::OnGone(const std::string& name, int64_t number) {
  parts_.metrics->RemoveModel(name, number);
  {
    absl::MutexLock lock(&mutex_);
    const auto model = models_.find(name);
    if (model == models_.end()) return;
    const auto version = model->second.versions.find(number);
    if (version == model->second.versions.end()) return;
    --version->second.draining;
  }
  Advance(name);
}

void Registry::Tell(const std::string& name) {
  // The state and the word of it are one step: two threads may have news of the same model.
  absl::MutexLock telling(&telling_mutex_);
  const absl::Status found = Lookup(name, {}).status();
  const auto told = told_.find(name);
  if (told != told_.end() && told->second == found.ok()) return;
  told_[name] = found.ok();
  if (absl::IsNotFound(found)) told_.erase(name);
  parts_.on_change(name, found.ok());
}

void Registry::TellAll() {
  std::set<std::string> names;
  for (const VersionStatus& status : Snapshot()) names.insert(status.name);
  {
    absl::MutexLock telling(&telling_mutex_);
    told_.clear();
  }
  for (const std::string& name : names) Tell(name);
}

}  // namespace torchd
