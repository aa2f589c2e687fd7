// The gRPC server: our services, health and reflection on one address.
//
// Thread-safety: all methods but Start(). Ownership: borrows the services; they outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/base/clock.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

namespace torchd {

class RpcServer {
 public:
  struct Options {
    std::string address;  // HOST:PORT; port 0: any free one.
    int message_bytes_max = 0;
    int64_t buffers_bytes_max = int64_t{1} << 30;  // Of what is being received and sent.
  };

  // Once per process, before anything else of gRPC: its messages go to our log.
  static void PrepareProcess();

  // UNAVAILABLE naming the address when it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(
      const Options& options, const std::vector<grpc::Service*>& services);
  ~RpcServer();

  const std::string& address() const { return address_; }  // With the real port.

  // What grpc.health.v1 answers; "" is the whole server.
  void SetServing(const std::string& service, bool serving);

  // From now on every service is NOT_SERVING, whatever SetServing() says.
  void SetNeverServing();

  // Takes no new calls and returns when those in flight are answered, or cancels them after
  // `limit`. What gRPC received and did not hand on yet it answers CANCELLED, which callers do not
  // try again; after CutConnections() there is nothing of that.
  void Shutdown(Duration limit);

  // Nobody can call any more; whoever waits for an answer sees UNAVAILABLE.
  void CutConnections();

 private:
  RpcServer(std::unique_ptr<grpc::Server> server, std::string address);

  const std::unique_ptr<grpc::Server> server_;
  const std::string address_;
};

}  // namespace torchd
