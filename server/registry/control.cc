#include "server/registry/control.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/base/atomic_file.h"
#include "server/base/log.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

constexpr int kCallsWaitingMax = 1000;
constexpr size_t kStateBytesMax = size_t{4} << 20;
constexpr absl::string_view kStateHeading = "torchd loaded models 1";

std::string StateText(const std::set<std::string>& names) {
  return absl::StrCat(kStateHeading, "\n", absl::StrJoin(names, "\n"), names.empty() ? "" : "\n");
}

absl::StatusOr<std::set<std::string>> ReadState(const std::string& path) {
  auto text = ReadSmallFile(path, kStateBytesMax);
  if (absl::IsNotFound(text.status())) return std::set<std::string>();
  TORCHD_RETURN_IF_ERROR(text.status());
  const std::vector<std::string> lines = absl::StrSplit(*text, '\n', absl::SkipEmpty());
  if (lines.empty() || lines[0] != kStateHeading) {
    return absl::InvalidArgumentError(absl::StrCat("state_file '", path, "': expected \"",
                                                   kStateHeading, "\" as its first line"));
  }
  std::set<std::string> names;
  for (size_t i = 1; i < lines.size(); ++i) {
    const absl::Status named = CheckModelName(lines[i]);
    if (!named.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("state_file '", path, "', line ", i + 1, ": ", named.message()));
    }
    names.insert(lines[i]);
  }
  return names;
}

// Of a model that has nothing more to do.
absl::Status Outcome(const std::string& name, const std::vector<VersionStatus>& all) {
  bool serves = false;
  bool known = false;
  std::string reason;
  for (const VersionStatus& status : all) {
    if (status.name != name) continue;
    known = true;
    serves = serves || status.state == VersionState::kReady;
    const bool failed = status.state == VersionState::kUnavailable ||
                        (status.state == VersionState::kReady && !status.reason.empty());
    // The highest version that failed is the one somebody waits for.
    if (failed && status.reason != "unloaded") {
      reason = absl::StrCat("version ", status.version, ": ", status.reason);
    }
  }
  if (!known) return NoModel(name);
  if (reason.empty() && serves) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("model '", name, "' ", reason.empty() ? "has no version that loads" : reason));
}

// Worth another try, at the next start or elsewhere.
absl::Status Stopping(const std::string& name, absl::string_view reason) {
  return absl::UnavailableError(absl::StrCat("the server is stopping; what was asked of model '",
                                             name, "' is not done", reason.empty() ? "" : ": ",
                                             reason));
}

absl::Status Outcome(const std::string& name, bool loaded, const Registry& registry) {
  absl::Status outcome = loaded ? Outcome(name, registry.Snapshot()) : absl::OkStatus();
  if (!registry.stopping()) return outcome;
  // A failure may be the stop's own: it ends the trials, too.
  if (!outcome.ok() || registry.LeftUndone(name)) return Stopping(name, outcome.message());
  return outcome;
}

}  // namespace

RepositoryControl::RepositoryControl(Options options, RepositorySource& source, Registry& registry)
    : options_(std::move(options)),
      source_(source),
      registry_(registry),
      thread_("control", {1, kCallsWaitingMax}) {}

absl::Status RepositoryControl::Start(const RepositorySnapshot& snapshot) {
  if (options_.mode == ControlMode::kExplicit && !options_.state_file.empty()) {
    TORCHD_ASSIGN_OR_RETURN(asked_, ReadState(options_.state_file));
    TORCHD_RETURN_IF_ERROR(WriteFileAtomically(options_.state_file, StateText(asked_)));
  }
  source_.Begin(snapshot);
  for (const std::string& name : asked_) {
    if (registry_.Knows(name)) {
      registry_.Ask(name, true);
    } else {
      Log(Severity::kWarning, "model of the state file is gone", {{"model", name}});
    }
  }
  return absl::OkStatus();
}

void RepositoryControl::Load(const std::string& name, const Done& done) {
  Enqueue(name, &RepositoryControl::BeginLoad, done);
}

void RepositoryControl::Unload(const std::string& name, const Done& done) {
  Enqueue(name, &RepositoryControl::BeginUnload, done);
}

void RepositoryControl::Reload(const std::string& name, const Done& done) {
  Enqueue(name, &RepositoryControl::BeginReload, done);
}

void RepositoryControl::Enqueue(const std::string& name, Step step, const Done& done) {
  absl::Status named = CheckModelName(name);
  if (!named.ok()) return done(named);
  const bool loaded = step != &RepositoryControl::BeginUnload;
  const bool taken = thread_.Submit([this, name, step, done, loaded] {
    const absl::Status begun = registry_.stopping() ? Stopping(name, "") : (this->*step)(name);
    if (!begun.ok()) return done(begun);
    // Without `this`, which the registry outlives.
    registry_.WhenSettled(name, [&registry = registry_, name, loaded, done] {
      done(Outcome(name, loaded, registry));
    });
  });
  if (!taken) done(absl::ResourceExhaustedError("too many model changes wait already"));
}

// The model as it is on disk now.
absl::Status RepositoryControl::Refresh(const std::string& name, Anew anew) {
  if (options_.mode == ControlMode::kFixed && !registry_.Knows(name)) {
    return absl::FailedPreconditionError(
        absl::StrCat("model '", name,
                     "' was not in the repository at the start, and "
                     "model_control is fixed; expected watch or explicit"));
  }
  return source_.LookAt(name, anew);
}

absl::Status RepositoryControl::BeginLoad(const std::string& name) {
  TORCHD_RETURN_IF_ERROR(Refresh(name, Anew::kFailed));
  if (options_.mode == ControlMode::kExplicit) TORCHD_RETURN_IF_ERROR(Remember(name, true));
  registry_.Ask(name, true);
  return absl::OkStatus();
}

absl::Status RepositoryControl::BeginReload(const std::string& name) {
  TORCHD_RETURN_IF_ERROR(Refresh(name, Anew::kAll));
  if (options_.mode == ControlMode::kExplicit && asked_.count(name) == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("model '", name, "' is not loaded; expected `torchctl load` first"));
  }
  return absl::OkStatus();
}

absl::Status RepositoryControl::BeginUnload(const std::string& name) {
  if (options_.mode != ControlMode::kExplicit) {
    return absl::FailedPreconditionError(
        absl::StrCat("model '", name,
                     "' stays as long as the repository has it, because "
                     "model_control is not explicit"));
  }
  // What is gone from the repository can still be forgotten.
  if (!registry_.Knows(name) && asked_.count(name) == 0) {
    return NoModel(name);
  }
  TORCHD_RETURN_IF_ERROR(Remember(name, false));
  registry_.Ask(name, false);
  return absl::OkStatus();
}

// What was asked for outlives the process; what cannot be written down is not done.
absl::Status RepositoryControl::Remember(const std::string& name, bool asked) {
  std::set<std::string> names = asked_;
  if (asked) {
    names.insert(name);
  } else {
    names.erase(name);
  }
  if (!options_.state_file.empty()) {
    TORCHD_RETURN_IF_ERROR(WriteFileAtomically(options_.state_file, StateText(names)));
  }
  asked_ = std::move(names);
  return absl::OkStatus();
}

}  // namespace torchd
