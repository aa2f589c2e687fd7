// The daemon's second port: HTTP/1.1 with keep-alive, for pages and for REST. One thread carries
// all connections, so that none waits for another; what takes time is done elsewhere
// (HttpHandler::Answer).
//
// Example:
//   absl::StatusOr<std::unique_ptr<HttpServer>> server =
//       HttpServer::Start({.address = "127.0.0.1:0"}, handler);
//   Log(Severity::kInfo, "listening", {{"http", (*server)->address()}});
//
// Limits: Options; 32 KiB for a connection's request line and header.
//
// Thread-safety: all methods. Ownership: borrows the handler, which outlives the server. The
// destructor stops listening, waits for the replies that Answer() owes, and joins the threads.
// Starting one makes the process ignore SIGPIPE.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/http/connection_watch.h"
#include "server/http/http_message.h"

struct MHD_Daemon;

namespace torchd {

class HttpServer {
 public:
  struct Options {
    std::string address;  // HOST:PORT, port 0 for any free one.
    int64_t body_bytes_max = int64_t{64} << 20;
    int64_t bodies_bytes_max = int64_t{1} << 30;  // Of all requests that are received or answered.
    int connections_max = 1024;  // Or a quarter of the process's descriptors, if that is less.
    ConnectionWatch::Limits times = {};
  };

  // INVALID_ARGUMENT when the address is none, UNAVAILABLE when nobody can listen there; both name
  // it.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const Options& options,
                                                           HttpHandler& handler);
  ~HttpServer();

  // HOST:PORT with the real port.
  const std::string& address() const { return address_; }

 private:
  struct Context;  // What the web server's callbacks see.

  explicit HttpServer(std::unique_ptr<Context> context);

  absl::Status Listen(const std::string& host, int port);
  absl::Status Serve(int socket);

  const std::unique_ptr<Context> context_;
  std::string address_;
  MHD_Daemon* daemon_ = nullptr;  // Owned; null until Listen() returned OK.
};

}  // namespace torchd
