#include "server/registry/repository_source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"

namespace torchd {

RepositorySource::RepositorySource(Options options, Registry& registry, const Clock& clock)
    : options_(std::move(options)),
      registry_(registry),
      clock_(clock),
      settling_(options_.settle) {}

void RepositorySource::Begin(const RepositorySnapshot& seen) {
  absl::MutexLock lock(&mutex_);
  settling_.Accept(seen);
  Remember(seen);
  registry_.SetRepository(seen);
}

absl::StatusOr<RepositorySnapshot> RepositorySource::Scan() {
  ScanOptions options = options_.scan;
  options.layout = layout_;
  readable_ = false;
  TORCHD_ASSIGN_OR_RETURN(RepositorySnapshot seen, ScanRepository(options_.repository, options));
  if (seen.layout == Layout::kUnknown && layout_ != Layout::kUnknown) {
    return absl::NotFoundError(
        absl::StrCat("the repository ", options_.repository,
                     " is empty all at once, as where a disk was unmounted; what serves stays"));
  }
  readable_ = true;
  Remember(seen);
  return seen;
}

void RepositorySource::Remember(const RepositorySnapshot& seen) {
  layout_ = seen.layout;
  for (const std::string& note : seen.notes) {
    if (std::find(notes_.begin(), notes_.end(), note) != notes_.end()) continue;
    Log(Severity::kWarning, "repository note", {{"note", note}});
  }
  notes_ = seen.notes;
}

absl::StatusOr<RepositorySnapshot> RepositorySource::Look() {
  absl::MutexLock lock(&mutex_);
  TORCHD_ASSIGN_OR_RETURN(RepositorySnapshot seen, Scan());
  registry_.SetRepository(settling_.Filter(seen, clock_.Now()));
  return seen;
}

absl::Status RepositorySource::LookAt(const std::string& name, Anew anew) {
  absl::MutexLock lock(&mutex_);
  TORCHD_ASSIGN_OR_RETURN(const RepositorySnapshot seen, Scan());
  if (seen.models.count(name) == 0) {
    return NoModel(name);
  }
  settling_.AcceptModel(name, seen);
  registry_.SetModel(name, seen, anew);
  return absl::OkStatus();
}

Instant RepositorySource::NextDueTime() const {
  absl::MutexLock lock(&mutex_);
  return readable_ ? settling_.NextDueTime() : kNever;
}

}  // namespace torchd
