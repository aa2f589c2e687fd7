// One request and its reply on a connection of the web server (libmicrohttpd), as its callbacks
// meet it: line, header, body, the wait for the handler, reply.
//
// Thread-safety: all of it runs on the web server's thread but the handler's `done`.
// Ownership: made by OnLine(), destroyed by OnCompleted(), which the web server calls in any case.
#pragma once

#include <microhttpd.h>

#include <atomic>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/http/connection_watch.h"
#include "server/http/http_message.h"

namespace torchd {

// What all requests together may take. Thread-safety: all methods.
class PortLimits {
 public:
  PortLimits(int64_t body_max, int64_t bodies_max, int answers_max)
      : body_bytes_max(body_max), bodies_bytes_max(bodies_max), answers_max_(answers_max) {}

  const int64_t body_bytes_max;
  const int64_t bodies_bytes_max;

  // Of bodies that are received or used; outlives this.
  const std::shared_ptr<std::atomic<int64_t>> bodies = std::make_shared<std::atomic<int64_t>>(0);

  // A place among the requests that are with their handler. OK: the handler's answer and the end of
  // the reply are to be told, too. RESOURCE_EXHAUSTED when there are enough, UNAVAILABLE when
  // stopping.
  absl::Status TakePlace() ABSL_LOCKS_EXCLUDED(mutex_);
  void Answered() ABSL_LOCKS_EXCLUDED(mutex_);
  void Sent() ABSL_LOCKS_EXCLUDED(mutex_);

  // No place is given from now on; returns once all replies are on their way.
  void StopAndAwaitReplies() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  const int answers_max_;
  absl::Mutex mutex_;
  int asked_ ABSL_GUARDED_BY(mutex_) = 0;    // The handler has yet to answer.
  int answers_ ABSL_GUARDED_BY(mutex_) = 0;  // The reply has yet to be sent.
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

class Exchange {
 public:
  // Outlive the web server.
  struct Parts {
    HttpHandler& handler;
    PortLimits& limits;
    ConnectionWatch& watch;
  };

  Exchange(const Parts& parts, MHD_Connection* connection, const char* target);

  // The web server's callbacks. They are C: noexcept ends the process rather than let an exception
  // through its frames. `cls` is the Parts where it is used.
  static void* OnLine(void* cls, const char* target, MHD_Connection* connection) noexcept;
  static MHD_Result OnRequest(void* cls, MHD_Connection* connection, const char* url,
                              const char* method, const char* version, const char* data,
                              size_t* size, void** exchange) noexcept;
  static void OnCompleted(void* cls, MHD_Connection* connection, void** exchange,
                          MHD_RequestTerminationCode why) noexcept;
  static void OnConnection(void* cls, MHD_Connection* connection, void** context,
                           MHD_ConnectionNotificationCode what) noexcept;
  static size_t LeaveEscaped(void* cls, MHD_Connection* connection, char* text) noexcept;
  static void OnLog(void* cls, const char* format, va_list arguments) noexcept;

 private:
  MHD_Result Begin(const char* method);
  void Take(const char* data, size_t size);
  MHD_Result Finish();
  MHD_Result HandOver();
  void AnswerEarly(HttpReply reply);
  MHD_Result Send(HttpReply reply);
  std::optional<std::string> Header(const char* name) const;

  const Parts& parts_;
  MHD_Connection* const connection_;
  ConnectionWatch::Connection* const watched_;
  const std::shared_ptr<HttpRequest> request_;
  int64_t* charged_ = nullptr;  // In the request's lease, once it has one.
  bool begun_ = false;
  bool handed_over_ = false;
  bool has_place_ = false;
  std::optional<HttpReply> early_;  // Sent when the body, if there is one, has been read over.
  HttpReply sent_;                  // The web server reads from it.
  absl::Mutex mutex_;
  std::optional<HttpReply> reply_ ABSL_GUARDED_BY(mutex_);  // The handler's.
};

}  // namespace torchd
