#include "server/http/connection_watch.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "server/base/log.h"
#include "server/base/thread_pool.h"

namespace torchd {
namespace {

constexpr uint64_t kStop = 0;  // No connection's id.
constexpr int kTickMs = 250;   // How late a limit may be noticed.
constexpr int kEventsMax = 64;

void Add(int epoll, int fd, uint32_t events, uint64_t id) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  // Without it a hang-up goes unnoticed, which costs a run and no more.
  static_cast<void>(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
}

}  // namespace

ConnectionWatch::ConnectionWatch(Limits limits)
    : limits_(limits), epoll_(epoll_create1(EPOLL_CLOEXEC)), stop_(eventfd(0, EFD_CLOEXEC)) {
  TORCHD_CHECK(epoll_.ok() && stop_.ok());
  Add(epoll_.get(), stop_.get(), EPOLLIN, kStop);
  thread_ = std::thread([this] {
    NameThisThread("http-watch");
    Watch();
  });
}

ConnectionWatch::~ConnectionWatch() {
  const uint64_t one = 1;
  TORCHD_CHECK(write(stop_.get(), &one, sizeof one) == sizeof one);
  thread_.join();
}

ConnectionWatch::Connection* ConnectionWatch::Open(int fd) {
  absl::MutexLock lock(&mutex_);
  const uint64_t id = ++last_id_;
  Connection& connection = connections_[id];
  connection.fd = fd;
  connection.id = id;
  connection.since = std::chrono::steady_clock::now();
  connection.until = connection.since + limits_.header_max;
  if (++waiting_ > limits_.waiting_max) CutSlowest();
  return &connection;
}

void ConnectionWatch::Enter(Connection& connection, Connection::Phase phase, Instant until) {
  using Phase = Connection::Phase;
  if (connection.phase == Phase::kAnswering && phase != Phase::kAnswering) {
    connection.cancelled = nullptr;
    static_cast<void>(epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.fd, nullptr));
  }
  waiting_ += (phase != Phase::kAnswering) - (connection.phase != Phase::kAnswering);
  connection.phase = phase;
  connection.until = until;
}

void ConnectionWatch::Receive(Connection* connection, Part part) {
  const Instant now = std::chrono::steady_clock::now();
  absl::MutexLock lock(&mutex_);
  if (part == Part::kIdle) connection->since = now;
  Enter(*connection, Connection::Phase::kReceiving,
        now + (part == Part::kIdle ? limits_.idle_max : limits_.body_max));
}

void ConnectionWatch::Answer(Connection* connection, std::atomic<bool>* cancelled) {
  absl::MutexLock lock(&mutex_);
  Enter(*connection, Connection::Phase::kAnswering, kNever);
  connection->cancelled = cancelled;
  Add(epoll_.get(), connection->fd, EPOLLRDHUP | EPOLLONESHOT, connection->id);
}

void ConnectionWatch::Send(Connection* connection) {
  const Instant until = std::chrono::steady_clock::now() + limits_.send_max;
  absl::MutexLock lock(&mutex_);
  Enter(*connection, Connection::Phase::kSending, until);
}

void ConnectionWatch::Close(Connection* connection) {
  absl::MutexLock lock(&mutex_);
  if (connection->phase == Connection::Phase::kAnswering) {
    static_cast<void>(epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection->fd, nullptr));
  } else {
    --waiting_;
  }
  connections_.erase(connection->id);
}

void ConnectionWatch::CutSlowest() {
  Connection* slowest = nullptr;
  for (auto& [id, connection] : connections_) {
    // Those that were cut have no time left, and wait for their owner to notice.
    if (connection.phase == Connection::Phase::kAnswering) continue;
    if (connection.until == kNever) continue;
    if (slowest == nullptr || connection.since < slowest->since) slowest = &connection;
  }
  if (slowest == nullptr) return;
  slowest->until = kNever;
  shutdown(slowest->fd, SHUT_RDWR);
}

void ConnectionWatch::CutLate(Instant now) {
  absl::MutexLock lock(&mutex_);
  for (auto& [id, connection] : connections_) {
    if (now < connection.until) continue;
    connection.until = kNever;
    shutdown(connection.fd, SHUT_RDWR);
  }
}

void ConnectionWatch::HungUp(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  const auto found = connections_.find(id);
  if (found == connections_.end() || found->second.cancelled == nullptr) return;
  found->second.cancelled->store(true, std::memory_order_relaxed);
}

void ConnectionWatch::Watch() {
  epoll_event events[kEventsMax];
  Instant looked = std::chrono::steady_clock::now();
  while (true) {
    const int count = epoll_wait(epoll_.get(), events, kEventsMax, kTickMs);
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 == kStop) return;
      HungUp(events[i].data.u64);
    }
    const Instant now = std::chrono::steady_clock::now();
    if (now - looked < std::chrono::milliseconds(kTickMs)) continue;
    looked = now;
    CutLate(now);
  }
}

}  // namespace torchd
