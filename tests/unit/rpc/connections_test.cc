#include "server/rpc/connections.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "gtest/gtest.h"

namespace torchd {
namespace {

sockaddr_in Loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

// A listening socket, a client's, and the server's end of that connection.
struct Server {
  Server() {
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof address;
    EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener, 8), 0);
    EXPECT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port = ntohs(address.sin_port);
    EXPECT_EQ(Connect(client), 0);
    accepted = accept(listener, nullptr, nullptr);
    EXPECT_GE(accepted, 0);
  }
  ~Server() {
    for (const int file : {accepted, client, listener}) close(file);
  }

  int Connect(int from) const {
    const sockaddr_in address = Loopback(port);
    return connect(from, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  }

  int listener = socket(AF_INET, SOCK_STREAM, 0);
  int client = socket(AF_INET, SOCK_STREAM, 0);
  int accepted = -1;
  int port = 0;
};

TEST(CutConnectionsTest, ClientsSeeTheEndAndNobodyNewGetsIn) {
  const Server server;
  char byte = 'x';
  ASSERT_EQ(send(server.accepted, &byte, 1, 0), 1);  // Under way: it still arrives.
  CutConnections(server.port);
  EXPECT_EQ(recv(server.client, &byte, 1, 0), 1);
  EXPECT_EQ(recv(server.client, &byte, 1, 0), 0);
  const int late = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(server.Connect(late), -1);
  EXPECT_EQ(errno, ECONNREFUSED);
  close(late);
}

TEST(CutConnectionsTest, OtherPortsAreLeftAlone) {
  const Server cut;
  const Server other;
  CutConnections(cut.port);
  const char byte = 'x';
  EXPECT_EQ(send(other.accepted, &byte, 1, MSG_NOSIGNAL), 1);
  const int late = socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(other.Connect(late), 0);
  close(late);
}

}  // namespace
}  // namespace torchd
