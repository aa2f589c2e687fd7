#include "server/http/http_server.h"

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/http/pages.h"
#include "server/http/reply.h"
#include "server/http/target.h"
#include "tests/unit/http/http_fixture.h"

namespace torchd {
namespace {

using std::chrono::milliseconds;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
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

// The pages at once; POST /echo gives its body back, or does what `on_answer` says.
class PagesAndEcho final : public HttpHandler {
 public:
  std::optional<HttpReply> AnswerNow(const HttpRequest& request) override {
    if (request.target == "/echo" && request.method == "POST") return std::nullopt;
    const auto target = ParseTarget(request.target);
    if (!target.ok()) return ErrorReply(target.status());
    return ReplyTo(request.method, target->path, sources_);
  }
  void Answer(std::shared_ptr<HttpRequest> request, Done done) override {
    if (on_answer) return on_answer(std::move(request), std::move(done));
    done({200, "text/plain", request->body});
  }
  void OnRefused(const absl::Status&) override { ++refused; }

  std::function<void(std::shared_ptr<HttpRequest>, Done)> on_answer;
  std::atomic<int> refused{0};

 private:
  const HttpSources sources_ = AllReady();
};

class HttpServerTest : public testing::Test {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "Debian's libmicrohttpd is not instrumented: its thread would be reported";
#endif
    Restart({.address = "127.0.0.1:0"});
  }

  void Restart(const HttpServer::Options& options) {
    server_.reset();
    auto started = HttpServer::Start(options, handler_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
  }

  std::string Get(const std::string& path) {
    return Exchange(*server_, "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }
  std::string Echo(const std::string& body, const std::string& more = "") {
    return Exchange(*server_,
                    PostBytes("/echo", "text/plain", body, "Connection: close\r\n" + more));
  }

  PagesAndEcho handler_;
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

TEST_F(HttpServerTest, AConnectionCarriesManyRequests) {
  HttpClient client(*server_);
  for (int i = 0; i < 3; ++i) {
    client.Send("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(client.ReadUntil("ok\n"), StartsWith("HTTP/1.1 200 OK\r\n"));
    const std::string body = "number " + std::to_string(i);
    client.Send(PostBytes("/echo", "text/plain", body));
    EXPECT_THAT(client.ReadUntil(body), EndsWith("\r\n\r\n" + body));
  }
}

TEST_F(HttpServerTest, DecodesThePath) {
  EXPECT_THAT(Get("/readyz/a%20cat"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(Get("/readyz/eel"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Get("/readyz/a%2"), StartsWith("HTTP/1.1 400 "));
}

TEST_F(HttpServerTest, HeadHasTheLengthButNoBody) {
  const std::string answer =
      Exchange(*server_, "HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(answer, HasSubstr("\r\nContent-Length: 3\r\n"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\n"));
}

TEST_F(HttpServerTest, OtherMethodsAre405AndTheirBodyIsIgnored) {
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS"}) {
    HttpClient client(*server_);
    client.Send(std::string(method) +
                " /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
                "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    const std::string answers = client.ReadAll();
    EXPECT_THAT(answers, StartsWith("HTTP/1.1 405 ")) << method;
    EXPECT_THAT(answers, HasSubstr("\r\nAllow: GET, HEAD\r\n")) << method;
    EXPECT_THAT(answers, HasSubstr("HTTP/1.1 200 ")) << method;  // The next is read from its start.
  }
}

TEST_F(HttpServerTest, NoFileIsEverServed) {
  for (const char* path : {"/etc/passwd", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd"}) {
    EXPECT_THAT(Get(path), StartsWith("HTTP/1.1 404 ")) << path;
  }
}

TEST_F(HttpServerTest, TooLongAHeaderIsRefusedAndTheServerLives) {
  const std::string answer = Exchange(
      *server_, "GET /livez HTTP/1.1\r\nHost: x\r\nX: " + std::string(40000, 'x') + "\r\n\r\n");
  EXPECT_THAT(answer, Not(HasSubstr(" 200 ")));
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpServerTest, NonsenseIsRefusedAndTheServerLives) {
  for (const char* nonsense : {"\x16\x03\x01 nonsense\r\n\r\n", "GET\r\n\r\n",
                               "POST /echo HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                               "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n"}) {
    HttpClient client(*server_);
    client.Send(nonsense);
    client.Send("GET /livez HTTP/1.0\r\n\r\n");
    EXPECT_THAT(client.ReadAll(), Not(HasSubstr(" 200 "))) << nonsense;
  }
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpServerTest, ManyClientsAtOnceAllGetTheirAnswer) {
  std::atomic<int> answered{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 12; ++i) {
    clients.emplace_back([this, &answered] {
      for (int n = 0; n < 10; ++n) {
        if (Get("/readyz").rfind("HTTP/1.1 200 ", 0) == 0) ++answered;
        if (Echo("hello").rfind("hello") != std::string::npos) ++answered;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(answered, 240);
}

TEST_F(HttpServerTest, ABodyOfTheMostBytesArrivesOneMoreIsRefused) {
  Restart({.address = "127.0.0.1:0", .body_bytes_max = 300'000});
  const std::string most(300'000, 'b');
  EXPECT_THAT(Echo(most), EndsWith("\r\n\r\n" + most));
  EXPECT_THAT(Echo(most + "b"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(Echo(most + "b"), HasSubstr("RESOURCE_EXHAUSTED"));
  EXPECT_THAT(Exchange(*server_,
                       "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n"
                       "Connection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));  // At once.
  EXPECT_EQ(handler_.refused, 3);
}

TEST_F(HttpServerTest, AChunkedBodyHasTheSameLimit) {
  Restart({.address = "127.0.0.1:0", .body_bytes_max = 10});
  const std::string head =
      "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
  EXPECT_THAT(Exchange(*server_, head + "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"),
              EndsWith("\r\n\r\nhelloworld"));
  EXPECT_THAT(Exchange(*server_, head + "5\r\nhello\r\n6\r\nworlds\r\n0\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
}

TEST_F(HttpServerTest, BodiesTogetherHaveALimitAndGiveTheirPartBack) {
  Restart({.address = "127.0.0.1:0", .body_bytes_max = 1000, .bodies_bytes_max = 1500});
  absl::Notification held;
  HttpHandler::Done answer;
  std::shared_ptr<HttpRequest> holding;
  handler_.on_answer = [&](std::shared_ptr<HttpRequest> request, HttpHandler::Done done) {
    holding = std::move(request);
    answer = std::move(done);
    held.Notify();
  };
  HttpClient first(*server_);
  first.Send(PostBytes("/echo", "text/plain", std::string(1000, 'a')));
  held.WaitForNotification();
  handler_.on_answer = nullptr;
  const std::string refused = Echo(std::string(600, 'b'));
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(refused, HasSubstr("\r\nRetry-After: 1\r\n"));
  EXPECT_THAT(refused, HasSubstr("\"retry_after_ms\":50"));
  holding.reset();
  answer({200, "text/plain", "done"});
  EXPECT_THAT(first.ReadUntil("done"), StartsWith("HTTP/1.1 200 "));
  first.HangUp();
  while (Echo(std::string(600, 'b')).find(" 200 ") == std::string::npos) std::this_thread::yield();
}

// Whoever hangs up is not waited for: the request may stop.
TEST_F(HttpServerTest, AHangUpCancelsTheRequest) {
  absl::Notification held;
  std::shared_ptr<HttpRequest> request;
  HttpHandler::Done answer;
  handler_.on_answer = [&](std::shared_ptr<HttpRequest> came, HttpHandler::Done done) {
    request = std::move(came);
    answer = std::move(done);
    held.Notify();
  };
  HttpClient client(*server_);
  client.Send(PostBytes("/echo", "text/plain", "x"));
  held.WaitForNotification();
  EXPECT_FALSE(request->cancelled);
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));  // Nobody waits for it meanwhile.
  client.HangUp();
  while (!request->cancelled) std::this_thread::yield();
  answer({200, "text/plain", "too late"});
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
}

// A probe must get through whatever the others do.
TEST_F(HttpServerTest, IdleAndSlowClientsStandInNobodysWay) {
  Restart({.address = "127.0.0.1:0", .connections_max = 64});
  std::vector<std::unique_ptr<HttpClient>> idle;
  for (int i = 0; i < 200; ++i) {
    idle.push_back(std::make_unique<HttpClient>(*server_));
    if (i % 2 == 0)
      idle.back()->Send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n");
  }
  for (int i = 0; i < 20; ++i) EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpServerTest, WhoTakesTooLongIsCutOffWhateverItSendsMeanwhile) {
  HttpServer::Options options = {.address = "127.0.0.1:0"};
  options.times.header_max = milliseconds(300);
  options.times.body_max = milliseconds(300);
  Restart(options);
  HttpClient header(*server_);
  HttpClient body(*server_);
  header.Send("GET /livez HTTP/1.1\r\nX: ");
  body.Send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
  const Instant begin = std::chrono::steady_clock::now();
  bool header_open = true;
  bool body_open = true;
  while ((header_open || body_open) &&
         std::chrono::steady_clock::now() - begin < std::chrono::seconds(20)) {
    header_open = header_open && header.Send("x");
    body_open = body_open && body.Send("x");
    std::this_thread::sleep_for(milliseconds(10));
  }
  EXPECT_FALSE(header_open);
  EXPECT_FALSE(body_open);
}

TEST_F(HttpServerTest, TheEndWaitsForTheRepliesItOwes) {
  absl::Notification held;
  HttpHandler::Done answer;
  handler_.on_answer = [&](std::shared_ptr<HttpRequest>, HttpHandler::Done done) {
    if (held.HasBeenNotified()) return done({200, "text/plain", "at once"});
    answer = std::move(done);
    held.Notify();
  };
  HttpClient client(*server_);
  client.Send(PostBytes("/echo", "text/plain", "x"));
  held.WaitForNotification();
  const std::string address = server_->address();
  std::atomic<bool> gone{false};
  std::thread ender([&] {
    server_.reset();
    gone = true;
  });
  const auto refused = [&address] {
    HttpClient other(address);
    other.Send(PostBytes("/echo", "text/plain", "y", "Connection: close\r\n"));
    return other.ReadAll().find("HTTP/1.1 503 ") == 0;
  };
  while (!gone && !refused()) std::this_thread::yield();
  EXPECT_FALSE(gone);
  answer({200, "text/plain", "late but here"});
  ender.join();
  EXPECT_THAT(client.ReadAll(), EndsWith("late but here"));
}

TEST_F(HttpServerTest, AnOccupiedPortIsAnErrorThatNamesIt) {
  const auto second = HttpServer::Start({.address = server_->address()}, handler_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(second.status().message(),
            "cannot listen on " + server_->address() + " for HTTP: address already in use");
}

TEST_F(HttpServerTest, ThePortIsFreeAgainAfterTheServerIsGone) {
  const std::string address = server_->address();
  EXPECT_THAT(Get("/livez"), StartsWith("HTTP/1.1 200 "));
  server_.reset();
  const auto again = HttpServer::Start({.address = address}, handler_);
  EXPECT_TRUE(again.ok()) << again.status();
}

TEST(HttpServerStartTest, AnAddressThatIsNoneIsRefused) {
  PagesAndEcho handler;
  for (const char* address :
       {"", "8000", ":8000", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1",
        "127.0.0.1:80s", "127.0.0.1:1,127.0.0.1:2", "[::1]:0"}) {
    const auto server = HttpServer::Start({.address = address}, handler);
    ASSERT_FALSE(server.ok()) << address;
    EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument) << address;
    EXPECT_THAT(std::string(server.status().message()),
                HasSubstr("\"" + std::string(address) + "\""));
  }
}

TEST(HttpServerStartTest, AnAddressOfAnotherMachineIsAnError) {
  PagesAndEcho handler;
  const auto server =
      HttpServer::Start({.address = "192.0.2.1:8000"}, handler);  // Reserved for examples.
  ASSERT_FALSE(server.ok());
  EXPECT_THAT(std::string(server.status().message()),
              StartsWith("cannot listen on 192.0.2.1:8000 for HTTP: "));
}

}  // namespace
}  // namespace torchd
