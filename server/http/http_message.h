// A request on the HTTP port, the reply to it, and who makes one of the other.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"

namespace torchd {

struct HttpRequest {
  std::string method;
  std::string target;  // As it came: path and query, percent signs and all.
  std::string content_type;
  std::string content_encoding;
  std::string peer;                        // "ipv4:10.0.0.7:51234"
  std::optional<std::string> client_name;  // The header torchd-client.
  std::string body;
  std::atomic<bool> cancelled{false};  // The client has hung up.
  std::shared_ptr<const void> lease;   // Of the memory its body takes, for as long as it lives.
};

struct HttpReply {
  int status = 200;
  std::string content_type;
  std::string body;
  std::string allow = {};                                     // With 405: the methods there are.
  std::optional<std::chrono::milliseconds> retry_after = {};  // When another try may succeed.
};

// Thread-safety: AnswerNow() is called on one thread, Answer() on the same. Outlives its server.
class HttpHandler {
 public:
  using Done = std::function<void(HttpReply)>;

  virtual ~HttpHandler() = default;

  // Before the body is there, on the thread that carries all connections: the reply if it takes
  // neither the body nor time, else nothing.
  virtual std::optional<HttpReply> AnswerNow(const HttpRequest& request) = 0;

  // With the body. Returns at once; calls `done` exactly once, on any thread.
  virtual void Answer(std::shared_ptr<HttpRequest> request, Done done) = 0;

  // The server itself has refused a request that was to be Answer()'s; for the metrics.
  virtual void OnRefused(const absl::Status& why) = 0;
};

}  // namespace torchd
