// Talks to an HTTP server byte by byte, as no library would.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <string>

#include "gtest/gtest.h"
#include "server/base/file_descriptor.h"
#include "server/http/http_server.h"

namespace torchd {

class HttpClient {
 public:
  explicit HttpClient(const HttpServer& server) : HttpClient(server.address()) {}
  explicit HttpClient(const std::string& address)
      : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in to = {};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<in_port_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    EXPECT_EQ(connect(fd_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  }

  // False once the other side has hung up.
  bool Send(const std::string& bytes) {
    return send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }

  // What comes until `text` has; all until the other side hangs up where that never does.
  std::string ReadUntil(const std::string& text) {
    std::string answer;
    char buffer[4096];
    while (text.empty() || answer.find(text) == std::string::npos) {
      const ssize_t got = recv(fd_.get(), buffer, sizeof buffer, 0);
      if (got <= 0) break;
      answer.append(buffer, static_cast<size_t>(got));
    }
    return answer;
  }
  std::string ReadAll() { return ReadUntil(""); }

  bool HasAnswer() const {
    pollfd waited{fd_.get(), POLLIN, 0};
    return poll(&waited, 1, /*timeout ms*/ 1) == 1;
  }

  void HangUp() { fd_.Reset(); }

 private:
  FileDescriptor fd_;
};

inline std::string Exchange(const HttpServer& server, const std::string& bytes) {
  HttpClient client(server);
  client.Send(bytes);
  return client.ReadAll();
}

inline std::string PostBytes(const std::string& target, const std::string& type,
                             const std::string& body, const std::string& more = "") {
  return "POST " + target + " HTTP/1.1\r\nHost: x\r\nContent-Type: " + type +
         "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more + "\r\n" + body;
}

}  // namespace torchd
