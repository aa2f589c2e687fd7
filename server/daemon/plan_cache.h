// What trials of plans found out, kept on disk: the next start needs no trials.
//
// A record holds for the bytes of one version's model files, one number of threads, one LibTorch
// and one kind of CPU; any other finds nothing.
//
// Thread-safety: all methods; daemons may share a folder.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/config/plan.h"

namespace torchd {

class PlanCache {
 public:
  // `folder`: "~/" in front is the home folder; empty: nothing is kept. `machine`: what times
  // depend on beside the file (PlanMachine()).
  PlanCache(const std::string& folder, std::string machine);

  std::optional<std::vector<PlanCandidate>> Find(const std::string& digest) const;

  // Logs what it cannot write; the search was not in vain for that.
  void Keep(const std::string& digest, const std::vector<PlanCandidate>& candidates) const;

 private:
  std::string PathOf(const std::string& digest) const;

  std::string folder_;
  const std::string machine_;
};

// One line: threads, LibTorch, CPU and what it is able to do.
std::string PlanMachine(int threads, absl::string_view libtorch);

// SHA-256 of the file's bytes, in hexadecimal; empty when it cannot be read.
std::string DigestOf(const std::string& path);
std::string DigestOfText(absl::string_view text);

// One line each; what is not one of ours is nullopt.
std::string EncodeCandidate(const PlanCandidate& candidate);
std::optional<PlanCandidate> DecodeCandidate(absl::string_view line);

}  // namespace torchd
