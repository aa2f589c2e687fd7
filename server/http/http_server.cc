#include "server/http/http_server.h"

#include <civetweb.h>

#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "server/base/log.h"

namespace torchd {

struct HttpServer::Context {
  const HttpSources sources;
  absl::Mutex mutex;
  // The web server tells why it cannot start in its log only.
  std::string complaint ABSL_GUARDED_BY(mutex);

  explicit Context(HttpSources given) : sources(std::move(given)) {}

  // The web server's callbacks. They are C: noexcept ends the process rather than let an exception
  // through its frames.
  static int Answer(mg_connection* connection) noexcept;
  static int Complain(const mg_connection* connection, const char* message) noexcept;
};

namespace {

// A client that connects and says nothing holds a thread until the timeout; probes must get through
// all the same.
constexpr char kThreads[] = "16";
constexpr char kTimeoutMs[] = "2000";

struct HostAndPort {
  std::string host;
  int port = 0;
};

absl::StatusOr<HostAndPort> ParseAddress(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  HostAndPort result;
  // The web server would read "," as one more address, "+" as "IPv4 and 6" and a letter after the
  // port as "with TLS"; none of these is meant.
  if (colon == std::string::npos || colon == 0 || !absl::ascii_isdigit(address.back()) ||
      !absl::SimpleAtoi(address.substr(colon + 1), &result.port) || result.port < 0 ||
      result.port > 65535 || address.find_first_of(",+ ") != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("HTTP address \"", address, "\" is not HOST:PORT with a port of 0 to 65535"));
  }
  result.host = address.substr(0, colon);
  if (absl::StartsWith(result.host, "[")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "HTTP address \"", address, "\": HTTP is served on IPv4 only, expected HOST:PORT"));
  }
  return result;
}

const char* StatusText(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    default:
      return "Service Unavailable";
  }
}

std::string Header(const HttpReply& reply) {
  return absl::StrCat("HTTP/1.1 ", reply.status, " ", StatusText(reply.status),
                      "\r\nContent-Type: ", reply.content_type,
                      "\r\nContent-Length: ", reply.body.size(),
                      reply.status == 405 ? "\r\nAllow: GET, HEAD" : "",
                      "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff"
                      "\r\nContent-Security-Policy: default-src 'none'; style-src 'unsafe-inline'"
                      "\r\nConnection: close\r\n\r\n");
}

// "cannot bind to 127.0.0.1:8000: 98 (Address already in use)" -> "address already in use". Other
// complaints say nothing to a reader.
std::string ReasonOf(const std::string& complaint) {
  const std::size_t open = complaint.rfind('(');
  const std::size_t close = complaint.rfind(')');
  if (open == std::string::npos || open < 2 || !absl::ascii_isdigit(complaint[open - 2]) ||
      close == std::string::npos || close <= open + 1) {
    return "the host is no IPv4 address and no name that resolves to one";
  }
  std::string reason = complaint.substr(open + 1, close - open - 1);
  reason[0] = absl::ascii_tolower(reason[0]);
  return reason;
}

void InitializeLibraryOnce() {
  // Never undone: the library has no state worth giving back, and undoing it is not thread-safe.
  static const unsigned features = mg_init_library(MG_FEATURES_DEFAULT);
  static_cast<void>(features);
}

}  // namespace

int HttpServer::Context::Answer(mg_connection* connection) noexcept {
  const mg_request_info* request = mg_get_request_info(connection);
  const auto* context = static_cast<const Context*>(request->user_data);
  const absl::string_view method = request->request_method;
  // No local URI: the request names another server, as one to a proxy does.
  const char* path = request->local_uri == nullptr ? "" : request->local_uri;
  const HttpReply reply = ReplyTo(method, path, context->sources);
  std::string answer = Header(reply);
  if (method != "HEAD") answer += reply.body;
  mg_write(connection, answer.data(), answer.size());
  return reply.status;
}

int HttpServer::Context::Complain(const mg_connection* connection, const char* message) noexcept {
  auto* context = static_cast<Context*>(mg_get_user_data(mg_get_context(connection)));
  Log(Severity::kDebug, "http", {{"message", message}});
  if (context != nullptr) {
    absl::MutexLock lock(&context->mutex);
    // The first one that names a cause; what follows only says that the start failed.
    if (!absl::StrContains(context->complaint, "(")) context->complaint = message;
  }
  return 1;
}

HttpServer::HttpServer(std::unique_ptr<Context> context) : context_(std::move(context)) {}

HttpServer::~HttpServer() {
  if (server_ == nullptr) return;
  // The web server looks every 2 s whether it shall stop, or when a client comes: so be one.
  absl::Notification stopped;
  std::thread stopper([this, &stopped] {
    mg_stop(server_);
    stopped.Notify();
  });
  do {
    Knock();
  } while (!stopped.WaitForNotificationWithTimeout(absl::Milliseconds(10)));
  stopper.join();
}

void HttpServer::Knock() const {
  const std::size_t colon = address_.rfind(':');
  int port = 0;
  if (colon == std::string::npos || !absl::SimpleAtoi(address_.substr(colon + 1), &port)) return;
  char error[100] = "";
  mg_connection* connection = mg_connect_client(address_.substr(0, colon).c_str(), port,
                                                /*use_ssl=*/0, error, sizeof error);
  if (connection != nullptr) mg_close_connection(connection);
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address,
                                                              HttpSources sources) {
  absl::StatusOr<HostAndPort> parsed = ParseAddress(address);
  if (!parsed.ok()) return parsed.status();
  InitializeLibraryOnce();
  auto server = absl::WrapUnique(new HttpServer(std::make_unique<Context>(std::move(sources))));
  const absl::Status status = server->Listen(parsed->host, parsed->port);
  if (!status.ok()) return status;
  return server;
}

absl::Status HttpServer::Listen(const std::string& host, int port) {
  const std::string wanted = absl::StrCat(host, ":", port);
  // No document_root, so no file is ever served; no body is ever read.
  const char* options[] = {"listening_ports",
                           wanted.c_str(),
                           "num_threads",
                           kThreads,
                           "max_request_size",
                           "8192",
                           "request_timeout_ms",
                           kTimeoutMs,
                           "enable_keep_alive",
                           "no",
                           "enable_directory_listing",
                           "no",
                           nullptr};
  mg_callbacks callbacks = {};
  callbacks.begin_request = &Context::Answer;
  // No log_access: for its sake alone the library calls localtime(), which is not thread-safe.
  callbacks.log_message = &Context::Complain;
  mg_init_data init = {};
  init.callbacks = &callbacks;
  init.user_data = context_.get();
  init.configuration_options = options;
  server_ = mg_start2(&init, nullptr);
  if (server_ == nullptr) {
    absl::MutexLock lock(&context_->mutex);
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", wanted, " for HTTP: ", ReasonOf(context_->complaint)));
  }
  mg_server_port ports[1] = {};
  if (mg_get_server_ports(server_, 1, ports) != 1) {
    return absl::InternalError(absl::StrCat("cannot tell the port of ", wanted));
  }
  address_ = absl::StrCat(host, ":", ports[0].port);
  return absl::OkStatus();
}

}  // namespace torchd
