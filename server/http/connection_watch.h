// Ends connections that take too long, and tells requests whose client hung up. Without it a client
// that sends a byte now and then would hold its connection for good, and a request whose caller is
// gone would run.
//
// Example, all on the server's thread:
//   Connection* connection = watch.Open(fd);      // Accepted: a request shall come.
//   watch.Receive(connection, kBody);             // Its header is there: so shall its body.
//   watch.Answer(connection, &request.cancelled); // It is complete.
//   watch.Send(connection);                       // The reply is on its way,
//   watch.Receive(connection, kIdle);             // and gone: the next request may come.
//   watch.Close(connection);
//
// Thread-safety: all methods. Ownership: borrows the sockets; it shuts them down and leaves closing
// them to their owner, who calls Close() first.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"
#include "server/base/file_descriptor.h"

namespace torchd {

class ConnectionWatch {
 public:
  struct Limits {
    // That wait for their client: for a request, or for its taking the reply. Beyond, the one that
    // began first is cut off: it is idle or slow, and who sends and takes at once is through by
    // then.
    int waiting_max = 384;
    Duration header_max = std::chrono::seconds(10);  // Until the first request's header is there.
    Duration idle_max = std::chrono::seconds(60);    // From a reply until the next one's is.
    Duration body_max = std::chrono::seconds(60);    // From then until its body is, too.
    Duration send_max = std::chrono::seconds(60);    // Until the reply is gone.
  };
  enum class Part { kBody, kIdle };

  struct Connection {
    int fd = -1;
    enum class Phase { kReceiving, kAnswering, kSending } phase = Phase::kReceiving;
    Instant since;
    Instant until = kNever;
    std::atomic<bool>* cancelled = nullptr;  // Of the request under way; set while kAnswering.
    uint64_t id = 0;
  };

  explicit ConnectionWatch(Limits limits);
  ~ConnectionWatch();

  Connection* Open(int fd) ABSL_LOCKS_EXCLUDED(mutex_);
  void Receive(Connection* connection, Part part) ABSL_LOCKS_EXCLUDED(mutex_);
  // `cancelled` turns true when the client hangs up; it lives until the next call for `connection`.
  void Answer(Connection* connection, std::atomic<bool>* cancelled) ABSL_LOCKS_EXCLUDED(mutex_);
  void Send(Connection* connection) ABSL_LOCKS_EXCLUDED(mutex_);
  void Close(Connection* connection) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Watch() ABSL_LOCKS_EXCLUDED(mutex_);
  void HungUp(uint64_t id) ABSL_LOCKS_EXCLUDED(mutex_);
  void CutLate(Instant now) ABSL_LOCKS_EXCLUDED(mutex_);
  void CutSlowest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Enter(Connection& connection, Connection::Phase phase, Instant until)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Limits limits_;
  const FileDescriptor epoll_;
  const FileDescriptor stop_;
  absl::Mutex mutex_;
  std::map<uint64_t, Connection> connections_ ABSL_GUARDED_BY(mutex_);  // By their id.
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  int waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace torchd
