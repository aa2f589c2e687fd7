// How a registry improves the plan of a version that began to serve by the default one.
#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/registry/registry.h"
#include "server/registry/sealed_version.h"
#include "server/registry/second_arrival.h"

namespace torchd {
namespace {

bool Same(const std::weak_ptr<const Servable>& one, const std::weak_ptr<const Servable>& other) {
  return !one.owner_before(other) && !other.owner_before(one);
}

void LogPlan(Severity severity, const std::string& what, const VersionFolder& folder,
             const PlanChoice& choice) {
  Log(severity, what,
      {{"model", folder.name},
       {"version", absl::StrCat(folder.version)},
       {"plan", Name(choice.plan)},
       {"why", choice.why}});
}

}  // namespace

void Registry::ImproveLater(const ModelHandle& serving) {
  if (serving == nullptr || !serving->plan.searching || !parts_.arrival.search) return;
  LogPlan(Severity::kInfo, "model serves, other plans are tried", serving->folder, serving->plan);
  const bool taken = improver_->Submit(
      [this, folder = serving->folder, target = std::weak_ptr<const Servable>(serving)] {
        Improve(folder, target);
      });
  if (!taken) Log(Severity::kError, "too many plans to search", {{"model", serving->name}});
}

Registry::Version* Registry::Serving(const VersionFolder& folder, const Target& target) {
  const auto model = models_.find(folder.name);
  if (model == models_.end()) return nullptr;
  const auto version = model->second.versions.find(folder.version);
  if (version == model->second.versions.end()) return nullptr;
  return version->second.servable != nullptr && Same(version->second.servable, target)
             ? &version->second
             : nullptr;
}

bool Registry::StillServes(const VersionFolder& folder, const Target& target) {
  absl::MutexLock lock(&mutex_);
  return !stopping_ && Serving(folder, target) != nullptr;
}

void Registry::Improve(const VersionFolder& folder, const Target& target) {
  const auto wanted = [&] { return StillServes(folder, target); };
  if (!wanted()) return;
  parts_.arrival.prepare_thread();
  PlanChoice report;  // What is to be told if the default plan goes on.
  auto better = FindBetter(folder, target, wanted, report);
  if (!wanted()) {
    Log(Severity::kInfo, "plan search dropped, the version serves no more",
        {{"model", folder.name}, {"version", absl::StrCat(folder.version)}});
    if (better.ok() && *better != nullptr) Discard(*std::move(better));
    return;
  }
  if (!better.ok()) {
    report.plan = kDefaultPlan;
    report.threads = 0;
    report.why = absl::StrCat("no other plan was found: ", better.status().message());
    LogPlan(Severity::kWarning, "plan search failed, the default plan goes on", folder, report);
  }
  Swap(folder, target, better.ok() ? *std::move(better) : nullptr, std::move(report));
}

absl::StatusOr<std::unique_ptr<Servable>> Registry::FindBetter(const VersionFolder& folder,
                                                               const Target& target,
                                                               const std::function<bool()>& wanted,
                                                               PlanChoice& report) {
  ModelConfig config;
  PlanChoice begun;
  {  // Held for no longer, so that it can be unloaded meanwhile.
    const ModelHandle serving = target.lock();
    if (serving == nullptr) return nullptr;
    config = serving->config;
    begun = serving->plan;
  }
  // What is tried is what is loaded; that it is what serves, the search makes sure.
  TORCHD_ASSIGN_OR_RETURN(const SealedVersion sealed, SealedVersion::Copy(folder, config));
  auto found = parts_.arrival.search(sealed.folder(), config, begun, wanted);
  if (!found.ok()) return sealed.Named(found.status());
  report = *found;
  if (report.teamed() == begun.teamed()) return nullptr;
  const ModelHandle serving = target.lock();
  if (serving == nullptr || !wanted()) return nullptr;
  auto made = ArriveAgain(*serving, sealed.folder(), *std::move(found), parts_.arrival, memory_,
                          *parts_.metrics);
  if (made.ok()) return made;
  report.why = absl::StrCat("'", Name(report.plan), "' would be faster, but ",
                            sealed.Named(made.status()).message());
  report.plan = begun.plan;
  report.threads = begun.threads;
  LogPlan(Severity::kWarning, "better plan does not load, the default plan goes on", folder,
          report);
  return nullptr;
}

void Registry::Discard(std::unique_ptr<Servable> made) {
  const std::string name = made->name;
  const int64_t version = made->version;
  made.reset();
  parts_.metrics->RemoveModel(name, version);
}

void Registry::Swap(const VersionFolder& folder, const Target& target,
                    std::unique_ptr<Servable> better, PlanChoice report) {
  ModelHandle old;  // Let go without the mutex, as is what was current.
  ModelHandle was_current;
  {
    absl::MutexLock lock(&mutex_);
    Version* const version = Serving(folder, target);
    if (version != nullptr) version->plan = std::move(report);
    if (version != nullptr && better != nullptr) {
      LogPlan(Severity::kInfo, "model serves by the plan that was found", folder, better->plan);
      old = std::exchange(
          version->servable,
          reaper_->Own(std::move(better), [this, name = folder.name, number = folder.version] {
            OnGone(name, number);
          }));
      ++version->draining;
      Entry& entry = models_.at(folder.name);
      was_current = std::exchange(entry.current, CurrentOf(entry));
    }
  }
  if (better != nullptr) Discard(std::move(better));  // It serves no more, since a moment.
  old.reset();
  was_current.reset();
  Advance(folder.name);
}

}  // namespace torchd
