#include "server/rpc/connections.h"

#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdlib>
#include <memory>
#include <vector>

namespace torchd {
namespace {

std::vector<int> OpenFiles() {
  std::vector<int> files;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/fd"), closedir);
  if (folder == nullptr) return files;
  while (const dirent* entry = readdir(folder.get())) {
    if (entry->d_name[0] != '.') files.push_back(std::atoi(entry->d_name));
  }
  return files;
}

// 0: not a socket of the Internet.
int LocalPort(int file) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (getsockname(file, reinterpret_cast<sockaddr*>(&address), &size) != 0) return 0;
  if (address.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  }
  return 0;
}

bool Listens(int file) {
  int listens = 0;
  socklen_t size = sizeof listens;
  return getsockopt(file, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && listens != 0;
}

}  // namespace

void CutConnections(int port) {
  for (const bool listeners : {true, false}) {  // Or new connections follow those that are cut.
    for (const int file : OpenFiles()) {
      if (LocalPort(file) == port && Listens(file) == listeners) shutdown(file, SHUT_RDWR);
    }
  }
}

}  // namespace torchd
