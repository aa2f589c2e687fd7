// What a registry shows: states, listings and look-ups. registry.cc changes them.
#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/status_macros.h"
#include "server/config/names.h"
#include "server/registry/registry.h"

namespace torchd {
namespace {

absl::Status NotReady(const VersionStatus& status) {
  return absl::UnavailableError(absl::StrCat(
      "model '", status.name, "' version ", status.version, " is ", Name(status.state),
      status.state == VersionState::kUnavailable ? "; `torchctl models` says why" : ""));
}

template <typename Map>
std::string KeysOf(const Map& map) {
  if (map.empty()) return "none";
  return absl::StrJoin(
      map, ", ", [](std::string* out, const auto& entry) { absl::StrAppend(out, entry.first); });
}

}  // namespace

std::vector<std::string> Takes(const Servable& servable) {
  std::vector<std::string> takes;
  if (servable.preprocessor.takes_image()) takes.emplace_back("image");
  if (servable.preprocessor.takes_text()) takes.emplace_back("text");
  takes.emplace_back("tensor");
  return takes;
}

VersionState Registry::StateOf(const Version& version) {
  if (version.facts.serving != 0) return VersionState::kReady;
  if (version.facts.loading) return VersionState::kLoading;
  if (version.draining > 0) return VersionState::kUnloading;
  if (version.facts.failed != 0 || version.unloaded) return VersionState::kUnavailable;
  return VersionState::kUnknown;
}

std::vector<std::string> Registry::LabelNotes(const Entry& entry) {
  std::vector<std::string> notes;
  for (const auto& [label, target] : entry.about.version_labels) {
    const int64_t at = entry.labels.at(label);
    if (at == target) continue;
    notes.push_back(absl::StrCat("version_labels: ", label, " leads to version ", at,
                                 " until version ", target, " serves",
                                 entry.versions.count(target) > 0 ? "" : ", which is not there"));
  }
  return notes;
}

VersionStatus Registry::StatusOf(const std::string& name, const Entry& entry,
                                 int64_t number) const {
  const Version& version = entry.versions.at(number);
  const ModelFacts facts = FactsOf(entry);
  const std::set<int64_t> wanted = WantedOf(entry, facts);
  VersionStatus status;
  status.name = name;
  status.version = number;
  status.state = StateOf(version);
  status.servable = version.servable;
  if (version.servable != nullptr) status.plan = version.plan;
  status.load_time = version.load_time;
  status.wanted = wanted.count(number) > 0 && IsName(name);
  status.notes = entry.about.notes;
  for (std::string& note : LabelNotes(entry)) status.notes.push_back(std::move(note));
  const int64_t stand_in = StandIn(facts, wanted, parts_.clock->Now());
  if (stand_in != 0 && facts.at(stand_in).serving != 0) {
    status.notes.push_back(absl::StrCat("version ", stand_in, " stands in for version ",
                                        *wanted.rbegin(), ", which does not serve"));
  }
  for (const auto& [label, labelled] : entry.labels) {
    if (labelled == number) status.labels.push_back(label);
  }
  const bool failed = version.facts.failed != 0;
  if (status.state == VersionState::kReady) {
    if (failed && version.facts.on_disk != version.facts.serving) {
      status.reason = absl::StrCat("its changed files do not load: ", version.reason);
    }
    if (version.facts.loading) status.reason = "its changed files are being loaded";
  } else if (failed) {
    status.reason = version.reason;
  } else if (status.state == VersionState::kUnavailable) {
    status.reason = "unloaded";
  } else if (status.state == VersionState::kUnknown) {
    const bool asked = entry.asked || !parts_.on_demand;
    if (!status.wanted) {
      status.reason =
          asked ? absl::StrCat("not wanted: the version policy is ", PolicyText(entry.about.policy))
                : "not loaded: nobody asked for it";
    }
  }
  return status;
}

std::vector<VersionStatus> Registry::Snapshot() const {
  absl::MutexLock lock(&mutex_);
  std::vector<VersionStatus> all;
  for (const auto& [name, entry] : models_) {
    for (const auto& version : entry.versions) {
      all.push_back(StatusOf(name, entry, version.first));
    }
  }
  return all;
}

ModelHandle Registry::CurrentOf(const Entry& entry) const {
  // While one version follows another both serve; the policy's choice comes first. A label's does
  // not: who wants a canary asks for it.
  const std::set<int64_t> wanted = WantedVersions(entry.about.policy, FactsOf(entry));
  ModelHandle other;
  for (auto at = entry.versions.rbegin(); at != entry.versions.rend(); ++at) {
    if (at->second.servable == nullptr) continue;
    if (wanted.count(at->first) > 0) return at->second.servable;
    if (other == nullptr) other = at->second.servable;
  }
  return other;
}

absl::StatusOr<ModelHandle> Registry::Choose(const std::string& name, const Entry& entry,
                                             const VersionChoice& choice) const {
  int64_t number = choice.version;
  if (!choice.label.empty()) {
    const auto label = entry.labels.find(choice.label);
    if (label == entry.labels.end()) {
      return absl::NotFoundError(absl::StrCat(
          "model '", name, "' has no version label of that name; it has ", KeysOf(entry.labels)));
    }
    number = label->second;
  }
  if (number > 0) {
    const auto at = entry.versions.find(number);
    if (at == entry.versions.end()) {
      return absl::NotFoundError(
          absl::StrCat("model '", name, "' has no version ", number, "; it has ",
                       entry.versions.count(0) > 0 ? std::string("none") : KeysOf(entry.versions)));
    }
    if (at->second.servable != nullptr) return at->second.servable;
    return NotReady(StatusOf(name, entry, number));
  }
  if (entry.current != nullptr) return entry.current;
  int64_t meant = entry.versions.rbegin()->first;
  for (const int64_t wanted : WantedOf(entry, FactsOf(entry))) {
    if (entry.versions.count(wanted) > 0) meant = wanted;
  }
  return NotReady(StatusOf(name, entry, meant));
}

absl::StatusOr<ModelHandle> Registry::Lookup(absl::string_view name,
                                             const VersionChoice& choice) const {
  if (choice.version < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("version is ", choice.version, "; expected 1 or above, or 0 for the highest"));
  }
  if (choice.version > 0 && !choice.label.empty()) {
    return absl::InvalidArgumentError("version and version_label are both set; expected one");
  }
  if (!name.empty()) TORCHD_RETURN_IF_ERROR(CheckModelName(name));
  absl::MutexLock lock(&mutex_);
  // A folder that no caller could name is no model.
  const auto callable = [](const auto& model) { return IsName(model.first); };
  const auto count =
      name.empty() ? std::count_if(models_.begin(), models_.end(), callable) : int64_t{1};
  if (count != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("model is empty, but the server has ", count, " models; name one"));
  }
  const auto found = name.empty() ? std::find_if(models_.begin(), models_.end(), callable)
                                  : models_.find(std::string(name));
  if (found == models_.end()) {
    return NoModel(name);
  }
  return Choose(found->first, found->second, choice);
}

}  // namespace torchd
