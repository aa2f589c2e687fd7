#include "server/http/target.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(ParseTargetTest, PathAndQueryAreDecoded) {
  const auto target = ParseTarget("/v1/a%20b+c?top_k=3&&name=%C3%a9%26+x%2b&flag&a=b=c");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_EQ(target->path, "/v1/a b+c");
  EXPECT_THAT(target->query, ElementsAre(Pair("top_k", "3"), Pair("name", "\xc3\xa9& x+"),
                                         Pair("flag", ""), Pair("a", "b=c")));
}

TEST(ParseTargetTest, WhatIsNoTargetIsRefused) {
  for (const char* target : {"", "*", "http://other/", "v1", "/%", "/%2", "/%g0", "/a%00b", "/?a=%",
                             "/?%zz=1", "/?a=%00"}) {
    EXPECT_EQ(ParseTarget(target).status().code(), absl::StatusCode::kInvalidArgument) << target;
  }
}

std::string Routed(const std::string& path) {
  const auto route = ParseRoute(path);
  if (!route.ok()) return std::string(route.status().message());
  if (!*route) return "none";
  const char* const kinds[] = {"models", "model", "version", "classify"};
  return std::string(kinds[static_cast<int>((*route)->kind)]) + " " + (*route)->model + " " +
         std::to_string((*route)->version);
}

TEST(ParseRouteTest, EachPathLeadsToItsCall) {
  EXPECT_EQ(Routed("/v1/models"), "models  0");
  EXPECT_EQ(Routed("/v1/models/cat"), "model cat 0");
  EXPECT_EQ(Routed("/v1/models/cat/versions/7"), "version cat 7");
  EXPECT_EQ(Routed("/v1/models/cat:classify"), "classify cat 0");
  EXPECT_EQ(Routed("/v1/models/cat/versions/7:classify"), "classify cat 7");
  EXPECT_EQ(Routed("/v1/models/versions/versions/1"), "version versions 1");
}

TEST(ParseRouteTest, OtherPathsLeadNowhere) {
  for (const char* path :
       {"/", "", "/v1", "/v1/", "/v1/models/", "/v1/modelscat", "/v1/models:classify",
        "/v1/models/:classify", "/v1/models/cat/", "/v1/models/cat/versions",
        "/v1/models//versions/1", "/v1/models/cat/versions/1/x", "/v1/models/a/b",
        "/v1/models/a/b:classify", "/v2/models"}) {
    EXPECT_EQ(Routed(path), "none") << path;
  }
}

// It was once taken for the model's name, and so for a call with the wrong method.
TEST(ParseRouteTest, AnotherVerbIsRefusedByItsName) {
  for (const char* path : {"/v1/models/cat:frobnicate", "/v1/models/cat/versions/7:frobnicate"}) {
    EXPECT_EQ(ParseRoute(path).status().code(), absl::StatusCode::kNotFound);
    EXPECT_EQ(Routed(path),
              "no verb 'frobnicate', expected classify, as in POST /v1/models/NAME:classify");
  }
  EXPECT_THAT(Routed("/v1/models/cat:"), HasSubstr("no verb ''"));
  EXPECT_THAT(Routed("/v1/models/cat:classify:x\n"), HasSubstr("no verb 'x\\n'"));
}

TEST(ParseRouteTest, AVersionIsANumberOfOneOrAbove) {
  for (const char* version : {"0", "-1", "x", "1.0", "", "9223372036854775808"}) {
    EXPECT_THAT(Routed("/v1/models/cat/versions/" + std::string(version)),
                HasSubstr("expected a number of 1 or above"))
        << version;
  }
}

}  // namespace
}  // namespace torchd
