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

}  // namespace

Registry::Registry(Parts parts)
    : parts_(WithTrialsAside(std::move(parts))),
      memory_(parts_.memory_bytes_max),
      reaper_(std::make_unique<Reaper>()),
      improver_(std::make_unique<ThreadPool>(
          "plan", ThreadPool::Limits{1, std::numeric_limits<int>::max()})),
      loaders_(Loaders::Limits{parts_.load_threads}) {}

Registry::Parts Registry::WithTrialsAside(Parts parts) {
  parts.arrival.aside = [this](const std::function<void()>& wait) { loaders_.Aside(wait); };
  return parts;
}

void Registry::Stop() {
  {
    absl::MutexLock lock(&mutex_);  // Whoever holds it may be about to hand over one more load.
    stopping_ = true;
  }
  loaders_.Stop();
  improver_.reset();
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
      loaders_.Submit([this, task = std::move(task)] { Load(task); });
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
    MoveLabels(found->second);
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
  ModelHandle serving;
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
      serving = version.servable;
      version.plan = serving->plan;
      facts.serving = task.fingerprint;
      facts.failed = 0;
      version.failures = 0;
      version.unloaded = false;
      version.reason.clear();
      version.load_time = load_time;
      MoveLabels(entry);
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
  ImproveLater(serving);
  serving.reset();
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

Registry::News Registry::NewsOf(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  const auto found = models_.find(name);
  if (found == models_.end()) return {};
  const Entry& entry = found->second;
  const std::set<int64_t> wanted = WantedOf(entry, FactsOf(entry));
  const bool any = std::any_of(wanted.begin(), wanted.end(),
                               [&](int64_t version) { return entry.versions.count(version) > 0; });
  return {true, entry.current != nullptr, any};
}

void Registry::Tell(const std::string& name) {
  // The state and the word of it are one step: two threads may have news of the same model.
  absl::MutexLock telling(&telling_mutex_);
  const News news = NewsOf(name);
  const auto told = told_.find(name);
  if (told == told_.end() && !news.known) return;
  const bool new_to_them = told == told_.end() || !(told->second == news);
  told_[name] = news;
  if (!news.known) told_.erase(name);
  if (new_to_them) parts_.on_change(name, news.ready);
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
