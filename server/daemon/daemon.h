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
  // Listens, loads the repository, and serves. An error names the setting that cannot be honoured.
  static absl::StatusOr<std::unique_ptr<Daemon>> Start(const ServerConfig& config);
  ~Daemon();

  // NOT_SERVING first, still answering for drain_delay; then takes no new calls, answers those in
  // flight for at most drain_limit.
  void Drain();

 private:
  struct Parts;

  explicit Daemon(std::unique_ptr<Parts> parts);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace torchd
