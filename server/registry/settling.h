// Holds back what is still being copied: a version counts as complete once its fingerprint has
// stood still for a while, and as gone once it has been away for as long. Until then its previous
// state goes on counting: so does a folder's that cannot be read for a moment.
//
// Thread-safety: none; RepositorySource owns one and calls it under its mutex. Time: passed in.
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

  // The same for one model alone.
  void AcceptModel(const std::string& name, const RepositorySnapshot& seen);

  // `seen` with each version, and what is said about each model, as it was when it last stood still
  // for `settle`. What never did is not in it.
  RepositorySnapshot Filter(const RepositorySnapshot& seen, Instant now);

  // When Filter() will give more though nothing changes; kNever when nothing waits.
  Instant NextDueTime() const;

 private:
  // unseen -> waiting -> settled -> waiting, with the old entry -> settled or unseen ...
  template <typename Entry>
  struct Settled {
    std::optional<uint64_t> fingerprint;  // As last seen; none: it was not there.
    Instant since = kNever;               // When that was first seen; kNever: nothing waits.
    std::optional<Entry> entry;           // As last settled; none: it was not there.
    bool forgotten() const { return !entry && since == kNever; }
  };
  using Versions = std::map<int64_t, Settled<VersionFolder>>;
  struct Model {
    Settled<ModelOnDisk> about;  // Without the versions.
    Versions versions;
  };

  // `seen` is null where there is nothing.
  template <typename Entry>
  static void Update(const Entry* seen, Instant now, Duration settle, Settled<Entry>& settled);
  static void UpdateModel(const ModelOnDisk* seen, Instant now, Duration settle, Model& model);
  static void UpdateVersions(const ModelOnDisk& seen, Instant now, Duration settle,
                             Versions& versions);
  static void Pause(Versions& versions);
  RepositorySnapshot SettledOnes() const;

  const Duration settle_;
  std::map<std::string, Model> models_;
};

}  // namespace torchd
