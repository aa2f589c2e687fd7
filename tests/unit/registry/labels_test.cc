#include "server/registry/labels.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(LabelsTest, JsonMapsClassesToNames) {
  const auto labels = LabelsOfJson(R"({"2": "long hair", "0": "tabby", "1": ""})");
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_THAT(*labels, ElementsAre("tabby", "", "long hair"));
}

TEST(LabelsTest, TorchServesListsEndWithTheName) {
  const auto labels =
      LabelsOfJson(R"({"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]})");
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_THAT(*labels, ElementsAre("tench", "goldfish"));
}

TEST(LabelsTest, JsonMayBeAList) {
  const auto labels = LabelsOfJson(R"(["a", "caf\u00e9"])");
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_THAT(*labels, ElementsAre("a", "caf\xc3\xa9"));
  EXPECT_THAT(*LabelsOfJson("{}"), IsEmpty());
}

TEST(LabelsTest, OtherJsonIsRefusedByName) {
  struct Case {
    std::string json, message;
  };
  const Case cases[] = {
      {"", "expected {\"0\": \"name\", ...}"},
      {"{\"0\": \"a\"", "expected {\"0\": \"name\", ...}"},
      {"3", "expected {\"0\": \"name\", ...}"},
      {"{\"cat\": \"0\"}", "key \"cat\"; expected a class from 0 to 999999"},
      {"{\"-1\": \"a\"}", "key \"-1\""},
      {"{\" 1\": \"a\"}", "key \" 1\""},
      {"{\"01\": \"a\"}", "key \"01\""},
      {"{\"1000000\": \"a\"}", "key \"1000000\""},
      {"{\"0\": 7}", "a class is 7; expected its name"},
      {R"({"0": "a", "2": "c"})", " class 1 is missing; expected each from 0 to 2"},
      {R"({"1": "b"})", " class 0 is missing; expected each from 0 to 1"},
      {"{\"0\": []}", "a class is []; expected its name"},
      {"[\"a\", null]", "a class is null; expected its name"},
      {"[\"caf\xe9\"]", "no JSON of labels"},
  };
  for (const Case& test : cases) {
    const auto labels = LabelsOfJson(test.json);
    ASSERT_EQ(labels.status().code(), absl::StatusCode::kInvalidArgument) << test.json;
    EXPECT_THAT(std::string(labels.status().message()), HasSubstr(test.message));
  }
}

TEST(LabelsTest, ImagenetHasItsThousandClassesInOrder) {
  const auto labels = ImagenetLabels();
  ASSERT_EQ(labels.size(), 1000U);
  EXPECT_EQ(labels[0], "tench");
  EXPECT_EQ(labels[281], "tabby");
  EXPECT_EQ(labels[967], "espresso");
  EXPECT_EQ(labels[999], "toilet tissue");
  EXPECT_EQ(std::set<std::string>(labels.begin(), labels.end()).count(""), 0U);
}

}  // namespace
}  // namespace torchd
