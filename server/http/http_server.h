// The daemon's second port: metrics, liveness, readiness and a status page, read-only.
//
// Example:
//   absl::StatusOr<std::unique_ptr<HttpServer>> server =
//       HttpServer::Start("127.0.0.1:0", std::move(sources));
//   Log(Severity::kInfo, "listening", {{"http", (*server)->address()}});
//
// Limits: 4 threads, 8 KiB of request header, 10 s to send a request, one request per connection.
//
// Thread-safety: all methods. Ownership: the sources are copied in; what they refer to must outlive
// the server. The destructor stops listening, lets running replies end and joins the threads.
// Starting one makes the process ignore SIGPIPE.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/http/pages.h"

struct mg_context;

namespace torchd {

class HttpServer {
 public:
  // `address`: HOST:PORT, port 0 for any free one. INVALID_ARGUMENT when it is no such thing,
  // UNAVAILABLE when nobody can listen there; both name the address.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& address,
                                                           HttpSources sources);
  ~HttpServer();

  // HOST:PORT with the real port.
  const std::string& address() const { return address_; }

 private:
  // What the web server's threads see.
  struct Context;

  explicit HttpServer(std::unique_ptr<Context> context);

  absl::Status Listen(const std::string& host, int port);
  // Connects to this very server and hangs up.
  void Knock() const;

  const std::unique_ptr<Context> context_;
  std::string address_;
  mg_context* server_ = nullptr;  // Owned; null until Listen() returned OK.
};

}  // namespace torchd
