#include "server/http/reply.h"

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/batching/refusal.h"

namespace torchd {

int HttpStatusOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return 200;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return 400;
    case absl::StatusCode::kUnauthenticated:
      return 401;
    case absl::StatusCode::kPermissionDenied:
      return 403;
    case absl::StatusCode::kNotFound:
      return 404;
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
      return 409;
    case absl::StatusCode::kResourceExhausted:
      return 429;
    case absl::StatusCode::kCancelled:
      return 499;  // Nobody reads it; logs of proxies know it.
    case absl::StatusCode::kUnimplemented:
      return 501;
    case absl::StatusCode::kUnavailable:
      return 503;
    case absl::StatusCode::kDeadlineExceeded:
      return 504;
    default:
      return 500;
  }
}

HttpReply ErrorReply(const absl::Status& status) {
  return ErrorReply(HttpStatusOf(status.code()), status);
}

HttpReply ErrorReply(int http_status, const absl::Status& status) {
  nlohmann::ordered_json error = {{"code", absl::StatusCodeToString(status.code())},
                                  {"message", std::string(status.message())}};
  HttpReply reply{http_status, "application/json", ""};
  if (const auto retry = RetryAfter(status)) {
    reply.retry_after = std::chrono::ceil<std::chrono::milliseconds>(*retry);
    error["retry_after_ms"] = reply.retry_after->count();
  }
  // A message may quote what a client sent, which need not be UTF-8; strict dump() would throw.
  constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
  reply.body = nlohmann::ordered_json{{"error", error}}.dump(-1, ' ', false, kReplace) + "\n";
  return reply;
}

HttpReply MethodNotAllowed(const std::string& method, const std::string& allow) {
  HttpReply reply = ErrorReply(405, absl::UnimplementedError(absl::StrCat(
                                        "method ", method, " is not allowed, expected ", allow)));
  reply.allow = allow;
  return reply;
}

}  // namespace torchd
