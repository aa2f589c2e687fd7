#include "server/http/exchange.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/log.h"
#include "server/batching/refusal.h"
#include "server/http/reply.h"

namespace torchd {
namespace {

constexpr auto kRetry = std::chrono::milliseconds(50);
constexpr int64_t kReserveMax = 1 << 20;  // A length is a promise; what has come is memory.

// What a body takes of PortLimits::bodies_bytes_max, for as long as anyone may read it.
struct BodyLease {
  explicit BodyLease(std::shared_ptr<std::atomic<int64_t>> all) : bodies(std::move(all)) {}
  BodyLease(const BodyLease&) = delete;
  BodyLease& operator=(const BodyLease&) = delete;
  ~BodyLease() { bodies->fetch_sub(bytes); }

  const std::shared_ptr<std::atomic<int64_t>> bodies;
  int64_t bytes = 0;
};

std::string PeerOf(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
  if (info == nullptr || info->client_addr == nullptr) return "";
  const auto& address = *reinterpret_cast<const sockaddr_in*>(info->client_addr);
  char text[INET_ADDRSTRLEN] = "";
  if (inet_ntop(AF_INET, &address.sin_addr, text, sizeof text) == nullptr) return "";
  return absl::StrCat("ipv4:", text, ":", ntohs(address.sin_port));
}

ConnectionWatch::Connection* WatchedOf(MHD_Connection* connection) {
  const MHD_ConnectionInfo* info =
      MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  return static_cast<ConnectionWatch::Connection*>(info->socket_context);
}

HttpReply TooLarge(int64_t body_bytes_max) {
  return ErrorReply(
      413, absl::ResourceExhaustedError(absl::StrCat("the body is larger than ", body_bytes_max,
                                                     " bytes, which is message_bytes_max")));
}

}  // namespace

absl::Status PortLimits::TakePlace() {
  absl::MutexLock lock(&mutex_);
  if (stopping_) {
    return Refused(Refusal::kDraining, absl::UnavailableError("the server is shutting down"));
  }
  if (answers_ >= answers_max_) {
    return Overloaded(Refusal::kQueueFull,
                      absl::StrCat(answers_, " HTTP requests are under way, which is the limit"),
                      kRetry);
  }
  ++asked_;
  ++answers_;
  return absl::OkStatus();
}

void PortLimits::Answered() {
  absl::MutexLock lock(&mutex_);
  --asked_;
}

void PortLimits::Sent() {
  absl::MutexLock lock(&mutex_);
  --answers_;
}

void PortLimits::StopAndAwaitReplies() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  const auto none = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return asked_ == 0 && answers_ == 0;
  };
  mutex_.Await(absl::Condition(&none));
}

Exchange::Exchange(const Parts& parts, MHD_Connection* connection, const char* target)
    : parts_(parts),
      connection_(connection),
      watched_(WatchedOf(connection)),
      request_(std::make_shared<HttpRequest>()) {
  if (target != nullptr) request_->target = target;
}

std::optional<std::string> Exchange::Header(const char* name) const {
  const char* value = MHD_lookup_connection_value(connection_, MHD_HEADER_KIND, name);
  if (value == nullptr) return std::nullopt;
  return value;
}

// The header is there.
MHD_Result Exchange::Begin(const char* method) {
  begun_ = true;
  request_->method = method;
  request_->peer = PeerOf(connection_);
  request_->content_type = Header(MHD_HTTP_HEADER_CONTENT_TYPE).value_or("");
  request_->content_encoding = Header(MHD_HTTP_HEADER_CONTENT_ENCODING).value_or("");
  request_->client_name = Header("torchd-client");
  const auto length = Header(MHD_HTTP_HEADER_CONTENT_LENGTH);
  uint64_t declared = 0;
  const bool told = length && absl::SimpleAtoi(*length, &declared);
  const bool has_body = declared > 0 || Header(MHD_HTTP_HEADER_TRANSFER_ENCODING);
  const auto body_max = static_cast<uint64_t>(parts_.limits.body_bytes_max);
  std::optional<HttpReply> now = parts_.handler.AnswerNow(*request_);
  if (!now && told && declared > body_max) {
    now = TooLarge(parts_.limits.body_bytes_max);
    parts_.handler.OnRefused(absl::ResourceExhaustedError("body"));
  }
  parts_.watch.Receive(watched_, ConnectionWatch::Part::kBody);
  if (!now) {
    request_->body.reserve(std::min<uint64_t>(declared, kReserveMax));
    return MHD_YES;
  }
  // A reply now would be the connection's last, and who is sending may never read it: the socket is
  // reset under it. So what is not too much is read over; who asked first (Expect) sends nothing.
  const bool much = Header(MHD_HTTP_HEADER_EXPECT) || declared / 2 > body_max;
  if (has_body && much) return Send(*std::move(now));
  AnswerEarly(*std::move(now));
  return MHD_YES;
}

void Exchange::AnswerEarly(HttpReply reply) {
  early_ = std::move(reply);
  std::string().swap(request_->body);
  request_->lease.reset();
}

void Exchange::Take(const char* data, size_t size) {
  if (early_) return;
  PortLimits& limits = parts_.limits;
  const auto bytes = static_cast<int64_t>(size);
  if (static_cast<int64_t>(request_->body.size()) + bytes > limits.body_bytes_max) {
    parts_.handler.OnRefused(absl::ResourceExhaustedError("body"));
    return AnswerEarly(TooLarge(limits.body_bytes_max));
  }
  if (charged_ == nullptr) {
    auto lease = std::make_shared<BodyLease>(limits.bodies);
    charged_ = &lease->bytes;
    request_->lease = std::move(lease);
  }
  *charged_ += bytes;
  if (limits.bodies->fetch_add(bytes) + bytes > limits.bodies_bytes_max) {
    const absl::Status full =
        Overloaded(Refusal::kMemory,
                   absl::StrCat("the bodies of HTTP requests hold ", limits.bodies->load() >> 20,
                                " MiB; in_flight_mb_max is ", limits.bodies_bytes_max >> 20),
                   kRetry);
    parts_.handler.OnRefused(full);
    return AnswerEarly(ErrorReply(full));
  }
  request_->body.append(data, size);
}

// The body is there, or the handler's reply.
MHD_Result Exchange::Finish() {
  if (early_) return Send(*std::move(early_));
  if (!handed_over_) return HandOver();
  std::optional<HttpReply> reply;
  {
    absl::MutexLock lock(&mutex_);
    reply = std::move(reply_);
  }
  TORCHD_CHECK(reply.has_value());
  return Send(*std::move(reply));
}

MHD_Result Exchange::HandOver() {
  handed_over_ = true;
  const absl::Status place = parts_.limits.TakePlace();
  if (!place.ok()) {
    parts_.handler.OnRefused(place);
    return Send(ErrorReply(place));
  }
  has_place_ = true;
  parts_.watch.Answer(watched_, &request_->cancelled);
  MHD_suspend_connection(connection_);
  parts_.handler.Answer(request_, [this](HttpReply reply) {
    PortLimits& limits = parts_.limits;
    {
      absl::MutexLock lock(&mutex_);
      reply_ = std::move(reply);
    }
    MHD_resume_connection(connection_);  // From here on `this` may be gone.
    limits.Answered();
  });
  return MHD_YES;
}

MHD_Result Exchange::Send(HttpReply reply) {
  parts_.watch.Send(watched_);
  sent_ = std::move(reply);
  MHD_Response* response =
      MHD_create_response_from_buffer(sent_.body.size(), sent_.body.data(), MHD_RESPMEM_PERSISTENT);
  if (response == nullptr) return MHD_NO;
  const auto add = [response](const char* name, const std::string& value) {
    MHD_add_response_header(response, name, value.c_str());
  };
  add("Content-Type", sent_.content_type);
  add("Cache-Control", "no-store");
  add("X-Content-Type-Options", "nosniff");
  add("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  if (!sent_.allow.empty()) add("Allow", sent_.allow);
  if (sent_.retry_after) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(*sent_.retry_after);
    add("Retry-After", absl::StrCat(seconds.count()));
  }
  const MHD_Result queued =
      MHD_queue_response(connection_, static_cast<unsigned>(sent_.status), response);
  MHD_destroy_response(response);
  return queued;
}

void* Exchange::OnLine(void* cls, const char* target, MHD_Connection* connection) noexcept {
  return std::make_unique<Exchange>(*static_cast<const Parts*>(cls), connection, target).release();
}

MHD_Result Exchange::OnRequest(void*, MHD_Connection*, const char*, const char* method, const char*,
                               const char* data, size_t* size, void** exchange) noexcept {
  auto& self = *static_cast<Exchange*>(*exchange);
  if (!self.begun_) return self.Begin(method);
  if (*size == 0) return self.Finish();
  self.Take(data, *size);
  *size = 0;
  return MHD_YES;
}

void Exchange::OnCompleted(void*, MHD_Connection*, void** exchange,
                           MHD_RequestTerminationCode) noexcept {
  auto* self = static_cast<Exchange*>(*exchange);
  *exchange = nullptr;
  if (self == nullptr) return;
  self->parts_.watch.Receive(self->watched_, ConnectionWatch::Part::kIdle);
  if (self->has_place_) self->parts_.limits.Sent();
  delete self;
}

void Exchange::OnConnection(void* cls, MHD_Connection* connection, void** context,
                            MHD_ConnectionNotificationCode what) noexcept {
  ConnectionWatch& watch = static_cast<const Parts*>(cls)->watch;
  if (what == MHD_CONNECTION_NOTIFY_STARTED) {
    *context = watch.Open(
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
  } else {
    watch.Close(static_cast<ConnectionWatch::Connection*>(*context));
  }
}

size_t Exchange::LeaveEscaped(void*, MHD_Connection*, char* text) noexcept {
  return std::char_traits<char>::length(text);
}

void Exchange::OnLog(void*, const char* format, va_list arguments) noexcept {
  char text[256];
  vsnprintf(text, sizeof text, format, arguments);
  Log(Severity::kDebug, "http", {{"message", text}});
}

}  // namespace torchd
