// Replies that say what went wrong, in one form on the whole port:
//   {"error": {"code": "INVALID_ARGUMENT", "message": "top_k: got 0, expected 1 to 1000"}}
// with the codes and texts that gRPC answers.
//
// Thread-safety: functions without state.
#pragma once

#include "absl/status/status.h"
#include "server/http/http_message.h"

namespace torchd {

// What HTTP calls `code`: 400 for INVALID_ARGUMENT.
int HttpStatusOf(absl::StatusCode code);

// Requires: `status` is an error. Its time to come again becomes `retry_after_ms` and Retry-After.
HttpReply ErrorReply(const absl::Status& status);

// With another status than that of the code.
HttpReply ErrorReply(int http_status, const absl::Status& status);

// 405: the methods there are, such as "GET, HEAD".
HttpReply MethodNotAllowed(const std::string& method, const std::string& allow);

}  // namespace torchd
