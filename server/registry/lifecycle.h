// What to do next about the versions of one model, decided from a snapshot of their states.
//
// Thread-safety: pure functions. Time: passed in, so that a test replays any history.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "server/base/clock.h"
#include "server/config/version_policy.h"

namespace torchd {

// kUnknown -> kLoading -> kReady | kUnavailable; kReady -> kLoading (changed files) -> kReady;
// kReady -> kUnloading -> kUnavailable; kUnavailable -> kLoading.
enum class VersionState { kUnknown, kLoading, kReady, kUnloading, kUnavailable };
const char* Name(VersionState state);  // "READY"

struct VersionFacts {
  bool loading = false;
  uint64_t on_disk = 0;            // Fingerprint of its files; 0: none.
  uint64_t serving = 0;            // Of the files that serve now; 0: it does not serve.
  uint64_t failed = 0;             // Of the files whose last load failed; 0: it did not.
  bool transient = false;          // The failure may pass though the files stay (no memory left).
  Instant not_before = Instant();  // The next try after a failure waits until then.
  bool nothing_there = false;      // Version 0 only: the folder was read, and holds no version.
};
// Version 0 on disk stands for a model's folder that holds no version or cannot be read.
using ModelFacts = std::map<int64_t, VersionFacts>;

// Versions that `policy` asks for: of those on disk, or all of its list while any is, as they may
// come; 0 where that is on disk.
std::set<int64_t> WantedVersions(const VersionPolicy& policy, const ModelFacts& facts);

using VersionLabels = std::map<std::string, int64_t>;  // "stable" -> 3

// Where each label of `configured` leads: to its version once that serves, until then to where it
// led `before`, as long as that serves. So its callers are answered while it moves.
VersionLabels PlaceLabels(const VersionLabels& configured, const VersionLabels& before,
                          const ModelFacts& facts);

// Adds the versions that labels ask for, and those they lead to meanwhile; none when the model is
// gone.
void AddLabelled(const VersionLabels& configured, const VersionLabels& placed,
                 const ModelFacts& facts, std::set<int64_t>& wanted);

struct Action {
  enum class Kind { kNone, kLoad, kUnload };
  Kind kind = Kind::kNone;
  int64_t version = 0;
};

// What stands in for the wanted versions while none of them serves or is about to: what serves
// already, else the highest version below them that loads. 0: none, or none is needed.
int64_t StandIn(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now);

// One load at a time, the highest version first; a version's changed files replace it. What is no
// longer wanted goes once all that is wanted and on disk serves, one version at least. So a
// newcomer that fails leaves the old one in place, as does one that is not there yet or a folder
// that cannot be read. Where nothing wanted loads, what StandIn() says does.
Action NextAction(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now);

// When NextAction() may say something else though nothing but time passes; kNever: never.
Instant NextRetry(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now);

// How long the next try waits after `failures` of them in a row: 1 s, doubled up to a minute.
Duration RetryDelay(int failures);

// "the latest 1", "all", "3, 5": for a listing.
std::string PolicyText(const VersionPolicy& policy);

}  // namespace torchd
