#include "server/http/pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "prometheus/metric_family.h"

namespace torchd {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class FakeCollectable final : public prometheus::Collectable {
 public:
  explicit FakeCollectable(std::string name) : name_(std::move(name)) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    prometheus::MetricFamily family;
    family.name = name_;
    family.help = "Help.";
    family.type = prometheus::MetricType::Gauge;
    family.metric.emplace_back().gauge.value = 7;
    return {family};
  }

 private:
  const std::string name_;
};

// A daemon whose models are cat (ready) and dog (not).
HttpSources SourcesOfPets() {
  HttpSources sources;
  sources.readiness = [] { return Readiness{true, {}}; };
  sources.model_readiness = [](const std::string& model) -> std::optional<Readiness> {
    if (model == "cat") return Readiness{true, {}};
    if (model == "dog") return Readiness{false, {"dog version 1 is LOADING"}};
    return std::nullopt;
  };
  sources.rows = [] { return std::vector<StatusRow>{{"cat", 1, "READY", ""}}; };
  return sources;
}

TEST(PagesTest, LivenessAsksNobody) {
  const HttpReply reply = ReplyTo("GET", "/livez", HttpSources());
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.body, "ok\n");
}

TEST(PagesTest, ReadinessIs200OrTheReasonsLineByLine) {
  HttpSources sources = SourcesOfPets();
  EXPECT_EQ(ReplyTo("GET", "/readyz", sources).status, 200);
  sources.readiness = [] { return Readiness{false, {"cat is\nLOADING", "dog is UNAVAILABLE"}}; };
  const HttpReply reply = ReplyTo("GET", "/readyz", sources);
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.body, "cat is LOADING\ndog is UNAVAILABLE\n");
}

TEST(PagesTest, NotReadyWithoutReasonStillSaysSo) {
  HttpSources sources = SourcesOfPets();
  sources.readiness = [] { return Readiness{}; };
  EXPECT_EQ(ReplyTo("GET", "/readyz", sources).body, "not ready\n");
}

TEST(PagesTest, ReadinessOfOneModel) {
  const HttpSources sources = SourcesOfPets();
  EXPECT_EQ(ReplyTo("GET", "/readyz/cat", sources).status, 200);
  EXPECT_EQ(ReplyTo("GET", "/readyz/dog", sources).status, 503);
  const HttpReply unknown = ReplyTo("GET", "/readyz/eel", sources);
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(nlohmann::json::parse(unknown.body).at("error").at("message"),
            "no model 'eel' in the repository");
}

TEST(PagesTest, MetricsOfAllCollectablesInOnePage) {
  HttpSources sources = SourcesOfPets();
  const FakeCollectable one("one");
  const FakeCollectable two("two");
  sources.collectables = {&one, &two};
  const HttpReply reply = ReplyTo("GET", "/metrics", sources);
  EXPECT_THAT(reply.content_type, StartsWith("text/plain; version=0.0.4"));
  EXPECT_EQ(reply.body,
            "# HELP one Help.\n# TYPE one gauge\none 7\n"
            "# HELP two Help.\n# TYPE two gauge\ntwo 7\n");
}

TEST(PagesTest, StatusPageEscapesWhatModelsBring) {
  HttpSources sources = SourcesOfPets();
  sources.rows = [] {
    return std::vector<StatusRow>{{"<cat>", 4, "UNAVAILABLE", "no \"file\" & <script>"}};
  };
  sources.readiness = [] { return Readiness{false, {"<b>"}}; };
  const HttpReply reply = ReplyTo("GET", "/", sources);
  EXPECT_EQ(reply.status, 200);
  EXPECT_THAT(reply.content_type, StartsWith("text/html"));
  EXPECT_THAT(reply.body, HasSubstr("<td>&lt;cat&gt;</td><td>4</td><td>UNAVAILABLE</td>"
                                    "<td>no &quot;file&quot; &amp; &lt;script&gt;</td>"));
  EXPECT_THAT(reply.body, HasSubstr("not ready"));
  EXPECT_THAT(reply.body, Not(HasSubstr("<script>")));
  EXPECT_THAT(reply.body, Not(HasSubstr("<b>")));
}

TEST(PagesTest, UnknownPageIsJsonWhateverItsBytes) {
  const HttpReply reply = ReplyTo("GET", "/\"\xff", SourcesOfPets());
  EXPECT_EQ(reply.status, 404);
  const nlohmann::json body = nlohmann::json::parse(reply.body);
  EXPECT_EQ(body.at("error").at("code"), "NOT_FOUND");
  EXPECT_EQ(body.at("error").at("message"), "no page /\"\xef\xbf\xbd");
}

TEST(PagesTest, OnlyGetAndHead) {
  EXPECT_EQ(ReplyTo("HEAD", "/livez", SourcesOfPets()).status, 200);
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS", "get"}) {
    EXPECT_EQ(ReplyTo(method, "/livez", SourcesOfPets()).status, 405) << method;
  }
}

}  // namespace
}  // namespace torchd
