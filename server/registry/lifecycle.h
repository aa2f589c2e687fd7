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
};
using ModelFacts = std::map<int64_t, VersionFacts>;

// Versions on disk that `policy` asks for.
std::set<int64_t> WantedVersions(const VersionPolicy& policy, const ModelFacts& facts);

struct Action {
  enum class Kind { kNone, kLoad, kUnload };
  Kind kind = Kind::kNone;
  int64_t version = 0;
};

// One load at a time, the highest version first; a version's changed files replace it. What is no
// longer wanted goes once all that is wanted serves, so that a newcomer that fails leaves the old
// one in place.
Action NextAction(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now);

// When NextAction() may say something else though nothing but time passes; kNever: never.
Instant NextRetry(const ModelFacts& facts, const std::set<int64_t>& wanted, Instant now);

// How long the next try waits after `failures` of them in a row: 1 s, doubled up to a minute.
Duration RetryDelay(int failures);

// "the latest 1", "all", "3, 5": for a listing.
std::string PolicyText(const VersionPolicy& policy);

}  // namespace torchd
