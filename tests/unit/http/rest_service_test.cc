// The REST interface before a real classifier, over a socket.
#include "server/http/rest_service.h"

#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/http/http_server.h"
#include "server/http/openapi.h"
#include "tests/unit/classify/classifier_fixture.h"
#include "tests/unit/http/http_fixture.h"

namespace torchd {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

class RestServiceTest : public ClassifierTest {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "Debian's libmicrohttpd is not instrumented: its thread would be reported";
#endif
    HttpSources pages;
    pages.readiness = [] { return Readiness{true, {}}; };
    pages.model_readiness = [](const std::string&) { return std::nullopt; };
    pages.rows = [] { return std::vector<StatusRow>(); };
    rest_ = std::make_unique<RestService>(
        RestService::Parts{classifier_, registry_, metrics_, clock_, {}, pages});
    auto server = HttpServer::Start({.address = "127.0.0.1:0"}, *rest_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  json Parsed(const std::string& answer) {
    code_ = std::atoi(answer.c_str() + std::string("HTTP/1.1 ").size());
    const size_t end = answer.find("\r\n\r\n");
    if (end == std::string::npos) return json();
    return json::parse(answer.substr(end + 4), nullptr, /*allow_exceptions=*/false);
  }
  json Get(const std::string& target) {
    return Parsed(
        Exchange(*server_, "GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
  }
  json Post(const std::string& target, const std::string& body,
            const std::string& type = "application/json") {
    return Parsed(Exchange(*server_, PostBytes(target, type, body, "Connection: close\r\n")));
  }
  std::string Error(const json& reply) {
    const std::string text = reply.dump();
    EXPECT_TRUE(reply.contains("error")) << text;
    return reply.contains("error") ? reply["error"]["code"].get<std::string>() + ": " +
                                         reply["error"]["message"].get<std::string>()
                                   : text;
  }
  uint64_t Refused(Refusal why) { return metrics_.refused(why).value(); }

  int code_ = 0;
  std::unique_ptr<RestService> rest_;
  std::unique_ptr<HttpServer> server_;
};

constexpr char kRow[] = R"({"tensors": [{"name": "x", "data": [1, 3, 2]}]})";

TEST_F(RestServiceTest, AnItemIsClassified) {
  const json reply = Post("/v1/models/echo:classify?top_k=2", kRow);
  EXPECT_EQ(code_, 200);
  EXPECT_EQ(reply["model"], "echo");
  EXPECT_EQ(reply["version"], 1);
  ASSERT_EQ(reply["results"].size(), 1u);
  const json& result = reply["results"][0];
  EXPECT_EQ(
      result["classes"].dump(),
      R"([{"index":1,"label":"bee","probability":3.0},{"index":2,"label":"cat","probability":2.0}])");
  EXPECT_EQ(result["non_finite"], false);
  EXPECT_EQ(result["times_us"].size(), 5u);
  EXPECT_FALSE(result.contains("error"));
}

TEST_F(RestServiceTest, EachItemOfSeveralHasItsOwnStatus) {
  const json reply = Post("/v1/models/echo/versions/1:classify", R"({"items": [
      {"tensors": [{"data": [1, 3, 2]}]}, {"tensors": [{"data": [1, 2]}]}, {"image": "!"},
      {"image": "aGk="}]})");
  EXPECT_EQ(code_, 200);
  ASSERT_EQ(reply["results"].size(), 4u);
  EXPECT_EQ(reply["results"][0]["classes"].size(), 3u);
  EXPECT_THAT(Error(reply["results"][1]), HasSubstr("INVALID_ARGUMENT: input 'x'"));
  EXPECT_THAT(Error(reply["results"][2]), HasSubstr("no base64"));
  EXPECT_THAT(Error(reply["results"][3]), HasSubstr("takes no image"));
  for (int i = 1; i < 4; ++i) EXPECT_TRUE(reply["results"][i]["classes"].empty());
}

TEST_F(RestServiceTest, TextsAndOptions) {
  const json reply =
      Post("/v1/models/text:classify?softmax=false&top_k=1", "cat cat", "text/plain");
  EXPECT_EQ(code_, 200);
  const json& classes = reply["results"][0]["classes"];
  ASSERT_EQ(classes.size(), 1u);
  EXPECT_EQ(classes[0]["index"], 0);
  EXPECT_EQ(classes[0]["label"], "");
  EXPECT_GE(classes[0]["probability"], 4.0);  // The number of ids.
}

TEST_F(RestServiceTest, ScoresBecomeWhatTheCallAsksFor) {
  const std::string echo = "/v1/models/echo:classify";
  json classes = Post(echo + "?activation=none&threshold=2", kRow)["results"][0]["classes"];
  ASSERT_EQ(classes.size(), 2u);
  EXPECT_EQ(classes[1]["probability"], 2.0);
  classes = Post(echo + "?activation=sigmoid&top_k=1", kRow)["results"][0]["classes"];
  EXPECT_NEAR(classes[0]["probability"].get<double>(), 0.95257, 1e-5);
  EXPECT_THAT(Error(Post(echo + "?activation=none&softmax=true", kRow)),
              HasSubstr("softmax and activation are both set"));
  EXPECT_EQ(code_, 400);
}

TEST_F(RestServiceTest, ABodyThatIsEncodedIsRefused) {
  const auto post = [this](const std::string& encoding) {
    return Parsed(Exchange(
        *server_, PostBytes("/v1/models/echo:classify", "application/json", kRow,
                            "Connection: close\r\nContent-Encoding: " + encoding + "\r\n")));
  };
  EXPECT_THAT(Error(post("gzip")), HasSubstr("Content-Encoding: got 'gzip', expected none"));
  EXPECT_EQ(code_, 415);
  EXPECT_EQ(post("identity")["model"], "echo");
}

TEST_F(RestServiceTest, RefusalsHaveTheCodesAndTextsOfGrpc) {
  const struct {
    const char* target;
    const char* body;
    int code;
    const char* text;
  } cases[] = {
      {"/v1/models/eel:classify", kRow, 404, "NOT_FOUND: "},
      {"/v1/models/echo/versions/9:classify", kRow, 404, "NOT_FOUND: "},
      {"/v1/models/echo/versions/x:classify", kRow, 400, "INVALID_ARGUMENT: version"},
      {"/v1/models/echo:classify?version_label=none", kRow, 404, "NOT_FOUND: "},
      {"/v1/models/broken:classify", kRow, 503, "UNAVAILABLE: "},
      {"/v1/models/echo:classify?top_k=4", kRow, 400, "INVALID_ARGUMENT: top_k: got 4"},
      {"/v1/models/echo:classify", "{}", 400, "INVALID_ARGUMENT: items: got 0, expected 1 to 64"},
      {"/v1/models/echo:classify", "{", 400, "INVALID_ARGUMENT: the body is no JSON"},
      {"/v1/models/echo:classify", R"({"text": "x"})", 400, "takes no text"},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(Error(Post(test.target, test.body)), HasSubstr(test.text));
    EXPECT_EQ(code_, test.code) << test.text;
  }
  EXPECT_THAT(Error(Post("/v1/models/echo:classify", "x", "text/html")), HasSubstr("'text/html'"));
  EXPECT_EQ(code_, 415);
  EXPECT_THAT(Error(Post("/v1/models/echo:frobnicate", kRow)), HasSubstr("expected classify"));
  EXPECT_EQ(code_, 404);
  EXPECT_THAT(Error(Get("/v1/models/echo:classify")), HasSubstr("expected POST"));
  EXPECT_EQ(code_, 405);
  EXPECT_THAT(Error(Post("/v1/models", "x")), HasSubstr("expected GET, HEAD"));
  EXPECT_EQ(code_, 405);
  EXPECT_EQ(Refused(Refusal::kUnknownModel), 3u);
  EXPECT_GE(Refused(Refusal::kInvalid), 4u);
}

TEST_F(RestServiceTest, ModelsAreListed) {
  json reply = Get("/v1/models");
  EXPECT_EQ(code_, 200);
  ASSERT_EQ(reply["models"].size(), 3u);
  EXPECT_EQ(reply["models"][0]["name"], "broken");
  EXPECT_EQ(reply["models"][0]["versions"][0]["state"], "UNAVAILABLE");
  EXPECT_THAT(reply["models"][0]["versions"][0]["reason"].get<std::string>(), HasSubstr("broken"));
  EXPECT_EQ(Get("/v1/models/echo"), reply["models"][1]);
  const json version = Get("/v1/models/echo/versions/1");
  EXPECT_EQ(version, reply["models"][1]["versions"][0]);
  EXPECT_EQ(version["takes"], json::array({"tensor"}));
  EXPECT_EQ(version["inputs"].dump(), R"([{"data_type":"float32","name":"x","shape":[3]}])");
  EXPECT_EQ(version["labels"], 3);
  EXPECT_EQ(version["activation"], "none");
  EXPECT_TRUE(version["threshold"].is_null());
  EXPECT_TRUE(version["image"].is_null() && version["text"].is_null());
  const json text = Get("/v1/models/text/versions/1")["text"];
  EXPECT_EQ(text["bytes_max"], kTextBytesMax);
  EXPECT_GE(text["tokens_max"], 2);
  EXPECT_EQ(version["version_labels"], json::array({"stable"}));
  EXPECT_THAT(Error(Get("/v1/models/eel")),
              HasSubstr("NOT_FOUND: no model 'eel' in the repository"));
  EXPECT_THAT(Error(Get("/v1/models/echo/versions/2")), HasSubstr("no version 2"));
  EXPECT_EQ(code_, 404);
}

TEST_F(RestServiceTest, TheContractIsServed) {
  EXPECT_EQ(Get("/openapi.json"), json::parse(kOpenApi));
  EXPECT_EQ(code_, 200);
}

TEST_F(RestServiceTest, TooMuchThatWaitsIsRefusedWithTheTimeToComeAgain) {
  WhileBusy([this] {
    std::vector<std::unique_ptr<HttpClient>> waiting;
    for (int i = 0; i < 3; ++i) {  // The queue has two places.
      waiting.push_back(std::make_unique<HttpClient>(*server_));
      waiting.back()->Send(
          PostBytes("/v1/models/text:classify", "text/plain", "cat", "Connection: close\r\n"));
    }
    size_t refused = 0;
    while (!waiting[refused]->HasAnswer()) refused = (refused + 1) % 3;
    const json reply = Parsed(waiting[refused]->ReadAll());
    EXPECT_EQ(code_, 429);
    EXPECT_THAT(Error(reply), HasSubstr("RESOURCE_EXHAUSTED: model 'text'"));
    EXPECT_GE(reply["error"]["retry_after_ms"], 1);
  });
}

TEST_F(RestServiceTest, NoneIsClassifiedOnceTheServerDrains) {
  rest_->Refuse();
  EXPECT_EQ(Error(Post("/v1/models/echo:classify", kRow)),
            "UNAVAILABLE: the server is shutting down");
  EXPECT_EQ(code_, 503);
  EXPECT_EQ(Refused(Refusal::kDraining), 1u);
  EXPECT_EQ(rest_->calls(), 1);
  EXPECT_EQ(Get("/v1/models")["models"].size(), 3u);
}

}  // namespace
}  // namespace torchd
