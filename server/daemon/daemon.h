// Builds every part of torchd, wires them, starts and stops them in one visible order.
//
// Thread-safety: none; main's thread owns it.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "server/config/server_config.h"

namespace torchd {

class Daemon {
 public:
  // Listens and begins to load the repository. An error names the setting that cannot be honoured.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const ServerConfig& config);

  // Waits for the loads that have begun.
  ~Daemon();

  // Every version of the repository is ready or has failed.
  bool loaded() const;

  // Tells the world that this server serves: health, address file, log. Requires: loaded().
  absl::Status Announce();

  // NOT_SERVING first, still answering for drain_delay; then refuses new calls and answers those in
  // flight for at most drain_limit.
  void Drain();

 private:
  struct Parts;

  explicit Daemon(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace torchd
