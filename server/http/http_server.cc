#include "server/http/http_server.h"

#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/file_descriptor.h"
#include "server/base/status_macros.h"
#include "server/http/exchange.h"

namespace torchd {

struct HttpServer::Context {
  Context(const Options& given, HttpHandler& handler)
      : options(given),
        port(given.body_bytes_max, given.bodies_bytes_max, given.connections_max / 2),
        watch(given.times),
        parts{handler, port, watch} {}

  const Options options;
  PortLimits port;
  ConnectionWatch watch;
  Exchange::Parts parts;
};

namespace {

constexpr size_t kConnectionMemory = 32 * 1024;  // Header, and a piece of the body at a time.

struct HostAndPort {
  std::string host;
  int port = 0;
};

absl::StatusOr<HostAndPort> ParseAddress(const std::string& address) {
  const std::size_t colon = address.rfind(':');
  HostAndPort result;
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

// "Address already in use" -> "address already in use".
std::string ReasonOf(int error) {
  std::string reason = std::strerror(error);  // NOLINT(concurrency-mt-unsafe): glibc's is safe.
  reason[0] = absl::ascii_tolower(reason[0]);
  return reason;
}

absl::StatusOr<sockaddr_in> Resolve(const std::string& host, int port) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) {
    return absl::UnavailableError("the host is no IPv4 address and no name that resolves to one");
  }
  sockaddr_in address{};
  std::memcpy(&address, found->ai_addr, sizeof address);
  freeaddrinfo(found);
  address.sin_port = htons(static_cast<in_port_t>(port));
  return address;
}

absl::StatusOr<FileDescriptor> ListeningSocket(const std::string& host, int port) {
  TORCHD_ASSIGN_OR_RETURN(const sockaddr_in address, Resolve(host, port));
  FileDescriptor fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int yes = 1;
  if (!fd.ok() || setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd.get(), SOMAXCONN) != 0) {
    return absl::UnavailableError(ReasonOf(errno));
  }
  return fd;
}

// Some are left to gRPC, which never recovers from having none, and to the model files.
int ConnectionsMax(int wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return wanted;
  return static_cast<int>(std::min<rlim_t>(std::max<rlim_t>(limit.rlim_cur / 4, 16), wanted));
}

}  // namespace

HttpServer::HttpServer(std::unique_ptr<Context> context) : context_(std::move(context)) {}

HttpServer::~HttpServer() {
  if (daemon_ == nullptr) return;
  context_->port.StopAndAwaitReplies();
  MHD_stop_daemon(daemon_);
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const Options& options,
                                                              HttpHandler& handler) {
  TORCHD_ASSIGN_OR_RETURN(const HostAndPort parsed, ParseAddress(options.address));
  Options fitting = options;
  fitting.connections_max = ConnectionsMax(options.connections_max);
  fitting.times.waiting_max = std::min(options.times.waiting_max, fitting.connections_max * 3 / 8);
  auto server = absl::WrapUnique(new HttpServer(std::make_unique<Context>(fitting, handler)));
  TORCHD_RETURN_IF_ERROR(server->Listen(parsed.host, parsed.port));
  return server;
}

absl::Status HttpServer::Listen(const std::string& host, int port) {
  absl::StatusOr<FileDescriptor> socket = ListeningSocket(host, port);
  if (!socket.ok()) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", host, ":", port,
                                               " for HTTP: ", socket.status().message()));
  }
  sockaddr_in real{};
  socklen_t size = sizeof real;
  if (getsockname(socket->get(), reinterpret_cast<sockaddr*>(&real), &size) != 0) {
    return absl::InternalError(absl::StrCat("cannot tell the port of ", host, ":", port));
  }
  address_ = absl::StrCat(host, ":", ntohs(real.sin_port));
  TORCHD_RETURN_IF_ERROR(Serve(socket->get()));
  static_cast<void>(socket->Release());  // The web server's from now on.
  return absl::OkStatus();
}

absl::Status HttpServer::Serve(int socket) {
  std::signal(SIGPIPE, SIG_IGN);
  const unsigned flags =
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
  Exchange::Parts* parts = &context_->parts;
  daemon_ = MHD_start_daemon(flags, 0, nullptr, nullptr, &Exchange::OnRequest, nullptr,  //
                             MHD_OPTION_EXTERNAL_LOGGER, &Exchange::OnLog, nullptr,      //
                             MHD_OPTION_LISTEN_SOCKET, socket,                           //
                             MHD_OPTION_URI_LOG_CALLBACK, &Exchange::OnLine, parts,      //
                             MHD_OPTION_NOTIFY_COMPLETED, &Exchange::OnCompleted, nullptr,
                             MHD_OPTION_NOTIFY_CONNECTION, &Exchange::OnConnection, parts,
                             MHD_OPTION_UNESCAPE_CALLBACK, &Exchange::LeaveEscaped, nullptr,
                             MHD_OPTION_CONNECTION_LIMIT,
                             static_cast<unsigned>(context_->options.connections_max),
                             MHD_OPTION_CONNECTION_MEMORY_LIMIT, kConnectionMemory,  //
                             MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
  if (daemon_ != nullptr) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("cannot serve HTTP on ", address_, ": no thread or descriptor is left"));
}

}  // namespace torchd
