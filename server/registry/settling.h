// Holds back what is still being copied: a version counts as complete once its fingerprint has
// stood still for a while. Until then its previous state goes on counting.
//
// Thread-safety: none; one thread owns it. Time: passed in.
//
// Example:
//   Settling settling(std::chrono::seconds(2));
//   settling.Accept(*ScanRepository(path));  // At the start nothing is waited for.
//   ...
//   const RepositorySnapshot wanted = settling.Filter(*ScanRepository(path), clock.Now());
//   watch.WaitForChange(settling.NextDueTime() - clock.Now());
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "server/base/clock.h"
#include "server/registry/repository.h"

namespace torchd {

class Settling {
 public:
  explicit Settling(Duration settle) : settle_(settle) {}

  // Takes all of `seen` as complete, as of now.
  void Accept(const RepositorySnapshot& seen);

  // `seen` with each version, and what is said about each model, as it was when it last stood still
  // for `settle`. What never did is not in it. What is gone is gone at once.
  RepositorySnapshot Filter(const RepositorySnapshot& seen, Instant now);

  // When Filter() will give more though nothing changes; kNever when nothing waits.
  Instant NextDueTime() const;

 private:
  // unseen -> waiting -> settled -> waiting, with the old entry -> settled ...
  template <typename Entry>
  struct Settled {
    uint64_t fingerprint = 0;    // As last seen.
    Instant since = kNever;      // When that was first seen; kNever: nothing waits.
    std::optional<Entry> entry;  // As last settled.
  };
  struct Model {
    Settled<ModelOnDisk> about;  // Without the versions.
    std::map<int64_t, Settled<VersionFolder>> versions;
  };

  template <typename Entry>
  void Update(const Entry& seen, Instant now, Duration settle, Settled<Entry>& settled) const;
  void UpdateModel(const ModelOnDisk& seen, Instant now, Duration settle, Model& model) const;
  RepositorySnapshot SettledOnes() const;

  const Duration settle_;
  std::map<std::string, Model> models_;
};

}  // namespace torchd
