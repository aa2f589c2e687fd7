#include "server/http/json_body.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/http/body_shown.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(JsonBodyTest, ItemsOfEveryKind) {
  EXPECT_THAT(
      Items(kJson, R"({"items": [{"image": "aGk="}, {"text": "h\u00e9"},
                               {"tensors": [{"name": "x", "data": [1, 2.5]},
                                            {"data_type": "int64", "data": [[[3]]]}]}]})"),
      ElementsAre("image hi", "text h\xc3\xa9", "tensors x float32[2] 1 2.5;  int64[1,1,1] 3;"));
  EXPECT_THAT(Items(kJson, R"({"top_k": 1, "text": "x"})"), ElementsAre("text x"));
  EXPECT_THAT(Items(kJson, "{}"), ElementsAre());
  EXPECT_THAT(Items(kJson, R"({"items": []})"), ElementsAre());
}

TEST(JsonBodyTest, ADataUrlIsToldFromBase64) {
  EXPECT_THAT(Items(kJson, R"({"image": "data:image/jpeg;base64,aGk="})"),
              ElementsAre(HasSubstr("got a data: URL, expected the base64 alone")));
}

TEST(JsonBodyTest, WhatIsWrongWithAnItemIsThatItemsStatus) {
  EXPECT_THAT(
      Items(kJson, R"({"items": [{"image": "!"}, {"text": "y"},
                      {"tensors": [{"data": [[1], [2, 3]]}]}]})"),
      ElementsAre("image: it is no base64", "text y",
                  "tensor without a name: its lists differ in length or depth at the same level"));
}

std::string Tensor(const std::string& fields) {
  return Items(kJson, R"({"tensors": [{"name": "x", )" + fields + "}]}").at(0);
}

TEST(JsonTensorTest, NumbersBecomeElements) {
  EXPECT_EQ(Tensor(R"("data": [[1, 2, 3], [4, 5, 6]])"), "tensors x float32[2,3] 1 2 3 4 5 6;");
  EXPECT_EQ(Tensor(R"("data": [1, 2, 3, 4], "shape": [2, 2])"), "tensors x float32[2,2] 1 2 3 4;");
  EXPECT_EQ(Tensor(R"("data_type": "uint8", "data": [0, 255])"), "tensors x uint8[2] 0 255;");
  EXPECT_EQ(Tensor(R"("data_type": "int32", "data": [-2147483648])"),
            "tensors x int32[1] -2147483648;");
  EXPECT_EQ(Tensor(R"("data_type": "int64", "data": [9223372036854775807, -9223372036854775808])"),
            "tensors x int64[2] 9223372036854775807 -9223372036854775808;");
  EXPECT_EQ(Tensor(R"("base64": "AQIDBA==", "data_type": "uint8", "shape": [2, 2])"),
            "tensors x uint8[2,2] 1 2 3 4;");
  EXPECT_EQ(Tensor(R"("data": [])"), "tensors x float32[0];");
  EXPECT_EQ(Tensor(R"("data": [1e-50, 18446744073709551615])"),
            "tensors x float32[2] 0 1.84467e+19;");
}

TEST(JsonTensorTest, WhatIsNoTensorSaysWhy) {
  const struct {
    const char* fields;
    const char* part;
  } cases[] = {
      {R"("data_type": "uint8", "data": [256])", "element 0 is no uint8"},
      {R"("data_type": "uint8", "data": [0, -1])", "element 1 is no uint8"},
      {R"("data_type": "int32", "data": [2147483648])", "element 0 is no int32"},
      {R"("data_type": "int64", "data": [1.5])", "element 0 is no int64"},
      {R"("data_type": "int64", "data": [9223372036854775808])", "element 0 is no int64"},
      {R"("data": [1e39])", "element 0 is no float32"},
      {R"("data": [[1], 2])", "differ in length or depth"},
      {R"("data": [1, [2]])", "differ in length or depth"},
      {R"("data": [[[1]], [2]])", "differ in length or depth"},
      {R"("data": [[], [1]])", "differ in length or depth"},
      {R"("data": [[1], [2]], "shape": [1, 2])", "shape is [1,2], but its lists are [2,1]"},
      {R"("shape": [1])", "expected one of data, as lists, and base64"},
      {R"("data": [1], "base64": "AA==")", "expected one of data"},
      {R"("base64": "AA==")", "base64 needs shape"},
      {R"("base64": "A", "shape": [1])", "it is no base64"},
  };
  for (const auto& test : cases) EXPECT_THAT(Tensor(test.fields), HasSubstr(test.part));
}

TEST(JsonBodyTest, WhatIsNotOfTheFormIsRefused) {
  for (const char* body : {"",
                           " ",
                           "{",
                           "[]",
                           "1",
                           "null",
                           "\"x\"",
                           "{}x",
                           "{\"text\": \"x\"",
                           "{'text': 1}",
                           R"({"text": 1})",
                           R"({"text": null})",
                           R"({"image": ["aGk="]})",
                           R"({"unknown": 1})",
                           R"({"items": {}})",
                           R"({"items": [1]})",
                           R"({"items": [[]]})",
                           R"({"items": null})",
                           R"({"items": [{"top_k": 1}]})",
                           R"({"items": [{"text": "x"}, {}]})",
                           R"({"items": [{"text": "x", "image": "aGk="}]})",
                           R"({"tensors": []})",
                           R"({"tensors": [{"data_type": "float64", "data": [1]}]})",
                           R"({"items": [], "text": "x"})",
                           R"({"text": "x", "items": []})",
                           R"({"text": "x", "text": "y"})",
                           R"({"tensors": {}})",
                           R"({"tensors": [[]]})",
                           R"({"tensors": [{"data": 1}]})",
                           R"({"tensors": [{"data": ["1"]}]})",
                           R"({"tensors": [{"data": [null]}]})",
                           R"({"tensors": [{"data": [{}]}]})",
                           R"({"tensors": [{"shape": [1.5]}]})",
                           R"({"tensors": [{"shape": [-1]}]})",
                           R"({"tensors": [{"shape": [1,1,1,1,1,1,1,1,1,1]}]})",
                           R"({"tensors": [{"name": 1}]})",
                           R"({"tensors": [{"other": 1}]})",
                           R"({"tensors": [{"data": [1], "data": [2]}]})",
                           "{\"text\": \"\xff\"}",
                           "{\"text\": \"\xed\xa0\x80\"}",
                           R"({"text": "\ud800"})",
                           R"({"tensors": [{"data": [1e999]}]})",
                           R"({"tensors": [{"data": [NaN]}]})",
                           R"({"tensors": [{"data": [01]}]})"}) {
    EXPECT_NE(Refusal(body), "not refused") << body;
  }
}

// A stack must not overflow, and no message may be as long as the body.
TEST(JsonBodyTest, DeepNestingIsRefusedAtOnce) {
  const std::string deep(1'000'000, '[');
  EXPECT_LT(Refusal(deep).size(), 200u);
  EXPECT_THAT(Refusal(R"({"tensors": [{"data": )" + deep), HasSubstr("nested more than 9 deep"));
  EXPECT_LT(Refusal(R"({"a": )" + deep).size(), 200u);
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += R"({"a":)";
  EXPECT_LT(Refusal(objects).size(), 200u);
  EXPECT_LT(Refusal("{\"" + std::string(1'000'000, 'k') + "\": 1}").size(), 200u);
}

TEST(JsonBodyTest, ItemsAndTensorsAreCounted) {
  const auto repeated = [](int count) {
    std::string body = R"({"items": [{"text": "x"})";
    for (int i = 1; i < count; ++i) body += R"(,{"text": "x"})";
    return body + "]}";
  };
  EXPECT_EQ(Items(kJson, repeated(64)).size(), 64u);
  EXPECT_THAT(Refusal(repeated(65)), HasSubstr("expected 1 to 64"));
}

TEST(JsonBodyTest, NumbersHaveTheLimitOfMessages) {
  const std::string four = R"({"tensors": [{"data": [1, 2, 3, 4]}]})";
  EXPECT_TRUE(ReadClassifyBody(kJson, four, {}, {16}).ok());
  EXPECT_THAT(std::string(ReadClassifyBody(kJson, four, {}, {15}).status().message()),
              HasSubstr("message_bytes_max"));
}

}  // namespace
}  // namespace torchd
