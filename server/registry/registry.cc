#include "server/registry/registry.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"
#include "server/base/thread_pool.h"

namespace torchd {
namespace {

template <typename Versions>
std::string VersionList(const Versions& versions) {
  if (versions.count(0) > 0) return "none";  // The place of a folder without versions.
  return absl::StrJoin(versions, ", ", [](std::string* out, const auto& entry) {
    absl::StrAppend(out, entry.first);
  });
}

absl::Status NotReady(const VersionStatus& status) {
  return absl::UnavailableError(absl::StrCat(
      "model '", status.name, "' version ", status.version, " is ", Name(status.state),
      status.state == VersionState::kUnavailable ? "; `torchctl models` says why" : ""));
}

// Labels beside a model of another size are a mix-up that would mislabel every answer.
absl::Status CheckLabels(const std::vector<std::string>& labels, const ModelSignature& signature) {
  const int64_t classes = signature.outputs.at(0).shape.at(0);
  if (labels.empty() || static_cast<int64_t>(labels.size()) == classes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("labels: ", labels.size(), " lines for ", classes,
                                                 " classes; expected one line for each"));
}

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

std::vector<std::string> Takes(const Servable& servable) {
  std::vector<std::string> takes;
  if (servable.preprocessor.takes_image()) takes.emplace_back("image");
  if (servable.preprocessor.takes_text()) takes.emplace_back("text");
  takes.emplace_back("tensor");
  return takes;
}

void Registry::Expect(const std::vector<VersionFolder>& folders) {
  absl::MutexLock lock(&mutex_);
  for (const VersionFolder& folder : folders) {
    models_[folder.name][folder.version] = {folder.name, folder.version, VersionState::kUnknown,
                                            "",          nullptr,        Duration(0)};
  }
}

void Registry::LoadAll(const std::vector<VersionFolder>& folders, int threads) {
  Expect(folders);
  ThreadPool pool("load", {threads, static_cast<int>(folders.size())});
  for (const VersionFolder& folder : folders) {
    const bool submitted = pool.Submit([this, &folder] { LoadOne(folder); });
    TORCHD_CHECK(submitted);
  }
}

void Registry::LoadOne(const VersionFolder& folder) {
  if (stopping_) return;
  parts_.prepare_thread();
  const Instant start = parts_.clock->Now();
  {
    absl::MutexLock lock(&mutex_);
    models_[folder.name][folder.version].state = VersionState::kLoading;
  }
  const absl::StatusOr<ModelHandle> made = Make(folder);
  Finish(folder, made, parts_.clock->Now() - start);
}

absl::StatusOr<ModelHandle> Registry::Make(const VersionFolder& folder) {
  TORCHD_RETURN_IF_ERROR(folder.status);
  TORCHD_ASSIGN_OR_RETURN(VersionFiles files, ReadVersionFiles(folder));
  TORCHD_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                          parts_.load(folder.ModelFile(), files.config));
  TORCHD_RETURN_IF_ERROR(CheckLabels(files.labels, model->signature()));
  TORCHD_ASSIGN_OR_RETURN(Preprocessor preprocessor,
                          Preprocessor::Create(files.config, model->signature().inputs,
                                               files.vocabulary, parts_.image_limits));
  TORCHD_RETURN_IF_ERROR(parts_.warm_up(*model));
  return std::make_shared<const Servable>(
      Servable{folder.name, folder.version, std::move(files.config), std::move(files.labels),
               std::move(model), std::move(preprocessor),
               parts_.metrics->ForModel(folder.name, folder.version)});
}

void Registry::Finish(const VersionFolder& folder, const absl::StatusOr<ModelHandle>& made,
                      Duration load_time) {
  // The new state and the word of it are one step: two versions of a model may finish side by side.
  absl::MutexLock telling(&telling_mutex_);
  {
    absl::MutexLock lock(&mutex_);
    VersionStatus& status = models_[folder.name][folder.version];
    status.load_time = load_time;
    if (made.ok()) {
      status.state = VersionState::kReady;
      status.servable = *made;
    } else {
      status.state = VersionState::kUnavailable;
      status.reason = std::string(made.status().message());
    }
  }
  LogLoaded(folder, made.status(), load_time);
  parts_.on_change(folder.name, Lookup(folder.name, 0).ok());
}

absl::StatusOr<ModelHandle> Registry::Lookup(absl::string_view name, int64_t version) const {
  if (version < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("version is ", version, "; expected 1 or above, or 0 for the highest"));
  }
  if (!name.empty()) TORCHD_RETURN_IF_ERROR(CheckModelName(name));
  absl::MutexLock lock(&mutex_);
  if (name.empty() && models_.size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("model is empty, but the server has ", models_.size(), " models; name one"));
  }
  const auto found = name.empty() ? models_.begin() : models_.find(std::string(name));
  if (found == models_.end()) {
    return absl::NotFoundError(absl::StrCat("no model '", name, "' in the repository"));
  }
  const Versions& versions = found->second;
  if (version > 0) {
    const auto at = versions.find(version);
    if (at == versions.end()) {
      return absl::NotFoundError(absl::StrCat("model '", found->first, "' has no version ", version,
                                              "; it has ", VersionList(versions)));
    }
    if (at->second.state == VersionState::kReady) return at->second.servable;
    return NotReady(at->second);
  }
  for (auto at = versions.rbegin(); at != versions.rend(); ++at) {
    if (at->second.state == VersionState::kReady) return at->second.servable;
  }
  return NotReady(versions.rbegin()->second);
}

std::vector<VersionStatus> Registry::Snapshot() const {
  absl::MutexLock lock(&mutex_);
  std::vector<VersionStatus> all;
  for (const auto& model : models_) {
    for (const auto& version : model.second) all.push_back(version.second);
  }
  return all;
}

}  // namespace torchd
