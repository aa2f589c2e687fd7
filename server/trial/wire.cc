#include "server/trial/wire.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace torchd {
namespace {

static_assert(std::is_trivially_copyable_v<TrialLimits>);
static_assert(std::is_trivially_copyable_v<TrialReport>);
static_assert(std::is_trivially_copyable_v<AnswerHeader>);

constexpr size_t kDescriptors = 2;
using ControlBytes = std::array<char, CMSG_SPACE(kDescriptors * sizeof(int))>;

absl::Status SendError(int error) {
  const std::string text = absl::StrCat("cannot order a trial: ", std::strerror(error));
  if (error == EMFILE || error == ENFILE || error == ETOOMANYREFS || error == ENOMEM ||
      error == ENOBUFS) {
    return absl::ResourceExhaustedError(text);
  }
  return absl::UnavailableError(text);
}

// The descriptors of a message, all of them, so that none leaks whatever their number.
std::vector<FileDescriptor> TakeDescriptors(msghdr& message) {
  std::vector<FileDescriptor> taken;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      taken.emplace_back(fd);
    }
  }
  return taken;
}

}  // namespace

int PollTimeout(Instant until, Instant now) {
  if (until <= now) return 0;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
  return static_cast<int>(std::min<int64_t>(left, std::numeric_limits<int>::max()));
}

absl::Status SendOrder(int socket, const TrialOrder& order, Instant deadline) {
  std::array<iovec, 2> pieces = {{{const_cast<TrialLimits*>(&order.limits), sizeof order.limits},
                                  {const_cast<char*>(order.request.data()), order.request.size()}}};
  alignas(cmsghdr) ControlBytes control{};
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(kDescriptors * sizeof(int));
  const std::array<int, kDescriptors> fds = {order.control.get(), order.answer.get()};
  std::memcpy(CMSG_DATA(rights), fds.data(), sizeof fds);
  while (sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return SendError(errno);
    pollfd writable = {socket, POLLOUT, 0};
    if (poll(&writable, 1, PollTimeout(deadline, SteadyClock().Now())) == 0) {
      return SendError(EAGAIN);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<TrialOrder>> ReceiveOrder(int socket) {
  TrialOrder order;
  order.request.resize(kTrialRequestBytesMax);
  std::array<iovec, 2> pieces = {
      {{&order.limits, sizeof order.limits}, {order.request.data(), order.request.size()}}};
  alignas(cmsghdr) ControlBytes control{};
  msghdr message{};
  message.msg_iov = pieces.data();
  message.msg_iovlen = pieces.size();
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got = 0;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return absl::InternalError(absl::StrCat("recvmsg: ", std::strerror(errno)));
  if (got == 0) return std::optional<TrialOrder>();
  std::vector<FileDescriptor> fds = TakeDescriptors(message);
  if (static_cast<size_t>(got) < sizeof order.limits || fds.size() != kDescriptors ||
      (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return absl::InternalError("the daemon sent what is no order");
  }
  order.request.resize(static_cast<size_t>(got) - sizeof order.limits);
  order.control = std::move(fds[0]);
  order.answer = std::move(fds[1]);
  return order;
}

bool SendReport(int control, const TrialReport& report) {
  return send(control, &report, sizeof report, MSG_NOSIGNAL | MSG_DONTWAIT) ==
         static_cast<ssize_t>(sizeof report);
}

std::optional<TrialReport> ReceiveReport(int control) {
  TrialReport report;
  if (recv(control, &report, sizeof report, MSG_DONTWAIT) != static_cast<ssize_t>(sizeof report)) {
    return std::nullopt;
  }
  return report;
}

}  // namespace torchd
