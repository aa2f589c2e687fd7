#include "server/http/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace torchd {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

HttpSources AllReady() {
  HttpSources sources;
  sources.readiness = [] { return Readiness{true, {}}; };
  sources.model_readiness = [](const std::string& model) -> std::optional<Readiness> {
    if (model == "a cat") return Readiness{true, {}};
    return std::nullopt;
  };
  sources.rows = [] { return std::vector<StatusRow>{}; };
  return sources;
}

// Sends `bytes` and returns all that comes back until the server closes the connection.
std::string Exchange(const HttpServer& server, const std::string& bytes) {
  const std::string& address = server.address();
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<in_port_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
    ADD_FAILURE() << "cannot connect to " << address;
  } else {
    send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    char buffer[4096];
    for (ssize_t got = 0; (got = recv(fd, buffer, sizeof buffer, 0)) > 0;) {
      answer.append(buffer, static_cast<std::size_t>(got));
    }
  }
  close(fd);
  return answer;
}

class HttpServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto started = HttpServer::Start("127.0.0.1:0", AllReady());
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }

  std::string Get(const std::string& path) {
    return Exchange(*server_, "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n");
  }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, TellsTheRealPort) {
  EXPECT_THAT(server_->address(), StartsWith("127.0.0.1:"));
  EXPECT_THAT(server_->address(), Not(EndsWith(":0")));
}

TEST_F(HttpServerTest, AnswersAndCloses) {
  const std::string answer = Get("/livez?verbose=1");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Length: 3\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nok\n"));
}

TEST_F(HttpServerTest, DecodesThePath) {
  EXPECT_THAT(Get("/readyz/a%20cat"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Get("/readyz/eel"), StartsWith("HTTP/1.1 404 "));
}

TEST_F(HttpServerTest, HeadHasTheLengthButNoBody) {
  const std::string answer = Exchange(*server_, "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Length: 3\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
}

TEST_F(HttpServerTest, OtherMethodsAre405AndTheirBodyIsIgnored) {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS"}) {
    const std::string answer =
        Exchange(*server_, std::string(method) +
                               " /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 405 ")) << method;
    EXPECT_THAT(answer, HasSubstr("\r\nAllow: GET, HEAD\r\n")) << method;
  }
}

TEST_F(HttpServerTest, NoFileIsEverServed) {
  for (const char* path : {"/etc/passwd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"}) {
    EXPECT_THAT(Get(path), StartsWith("HTTP/1.1 404 ")) << path;
  }
}

TEST_F(HttpServerTest, TooLongAHeaderIsRefusedAndTheServerLives) {
  const std::string answer = Exchange(
      *server_, "GET /livez HTTP/1.1\r\nHost: x\r\nX: " + std::string(9000, 'x') + "\r\n\r\n");
  EXPECT_THAT(answer, Not(HasSubstr(" 200 ")));
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpServerTest, NonsenseIsRefusedAndTheServerLives) {
  EXPECT_THAT(Exchange(*server_, "\x16\x03\x01 nonsense\r\n\r\n"), Not(HasSubstr(" 200 ")));
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpServerTest, ManyClientsAtOnceAllGetTheirAnswer) {
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 12; ++i) {
    clients.emplace_back([this, &answered] {
      for (int n = 0; n < 10; ++n) {
        if (Get("/readyz").rfind("HTTP/1.1 200 ", 0) == 0) ++answered;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered, 120);
}

TEST_F(HttpServerTest, AnOccupiedPortIsAnErrorThatNamesIt) {
  const auto second = HttpServer::Start(server_->address(), AllReady());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(second.status().message(),
            "cannot listen on " + server_->address() + " for HTTP: address already in use");
}

TEST_F(HttpServerTest, ThePortIsFreeAgainAfterTheServerIsGone) {
  const std::string address = server_->address();
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
  server_.reset();
  const auto again = HttpServer::Start(address, AllReady());
  EXPECT_TRUE(again.ok()) << again.status();
}

TEST(HttpServerStartTest, AnAddressThatIsNoneIsRefused) {
  for (const char* address :
       {"", "8000", ":8000", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:80s", "127.0.0.1:1,127.0.0.1:2", "[::1]:0"}) {
    const auto server = HttpServer::Start(address, AllReady());
    ASSERT_FALSE(server.ok()) << address;
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(std::string(server.status().message()),
                HasSubstr("\"" + std::string(address) + "\""));
  }
}

TEST(HttpServerStartTest, AnAddressOfAnotherMachineIsAnError) {
  const auto server = HttpServer::Start("192.0.2.1:8000", AllReady());  // Reserved for examples.
  ASSERT_FALSE(server.ok());
  EXPECT_THAT(std::string(server.status().message()),
              StartsWith("cannot listen on 192.0.2.1:8000 for HTTP: "));
}

}  // namespace
}  // namespace torchd
