#include "server/http/classify_body.h"

#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/http/body_shown.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ClassifyBodyTest, BytesAreWhatTheirTypeSays) {
  EXPECT_THAT(Items("image/jpeg", "\xff\xd8"), ElementsAre("image \xff\xd8"));
  EXPECT_THAT(Items("application/octet-stream", ""), ElementsAre("image "));
  EXPECT_THAT(Items("Text/Plain; charset=utf-8", "h\xc3\xa9"), ElementsAre("text h\xc3\xa9"));
  EXPECT_THAT(Items("text/plain", "\xff"), ElementsAre("text: it is no UTF-8"));
  EXPECT_THAT(Items("text/plain", std::string(kTextBytesMax + 1, 'a')),
              ElementsAre("text: got 1048577 bytes, at most 1048576"));
}

TEST(ClassifyBodyTest, AnotherTypeIsRefusedByName) {
  EXPECT_THAT(Refusal("{}", {}, "application/xml"),
              AllOf(HasSubstr("'application/xml'"), HasSubstr("multipart/form-data")));
  EXPECT_THAT(Refusal("{}", {}, ""), HasSubstr("Content-Type: got ''"));
  EXPECT_THAT(Refusal("{}", {}, "json\x01\xff"), HasSubstr("'json?\?'"));
}

// It was once read as UTF-8 without a word.
TEST(ClassifyBodyTest, AnotherCharsetIsRefused) {
  for (const char* type : {"text/plain; charset=utf-16", "application/json; charset=\"latin1\""}) {
    EXPECT_THAT(Refusal("{}", {}, type), HasSubstr("expected utf-8")) << type;
    EXPECT_FALSE(CheckContentType(type).ok());
  }
  EXPECT_EQ(Refusal("x", {}, "text/plain; charset=UTF-16"),
            "charset of Content-Type: got 'UTF-16', expected utf-8");
  for (const char* type : {"text/plain; charset=UTF-8", "text/plain;charset=\"utf8\"",
                           "text/plain; format=flowed", "application/json; charset=us-ascii"}) {
    EXPECT_TRUE(CheckContentType(type).ok()) << type;
  }
}

TEST(ClassifyBodyTest, ATextMayHaveASecondOne) {
  EXPECT_THAT(Items(kJson, R"({"items": [{"text_pair": "b", "text": "a"}, {"text": "c"},
                               {"text": "d", "text_pair": ""}]})"),
              ElementsAre("text a and b", "text c", "text d and "));
  EXPECT_THAT(Items(kJson, R"({"text": "a", "text_pair": "b"})"), ElementsAre("text a and b"));
  EXPECT_THAT(Items("text/plain", "a", {{"text_pair", "b"}}), ElementsAre("text a and b"));
  EXPECT_THAT(Items("text/plain", "a", {{"text_pair", "\xff"}}),
              ElementsAre("text_pair: it is no UTF-8"));
  const std::string half(kTextBytesMax / 2, 'a');
  EXPECT_THAT(Items("text/plain", half + "a", {{"text_pair", half}}),
              ElementsAre("text and text_pair: got 1048577 bytes, at most 1048576"));
  EXPECT_THAT(Refusal(R"({"text_pair": "b"})"), HasSubstr("no input"));
  EXPECT_THAT(Refusal(R"({"image": "aGk=", "text_pair": "b"})"), HasSubstr("and no text"));
  EXPECT_THAT(Refusal(R"({"text": "a", "text_pair": 1})"), HasSubstr("'text_pair'"));
  EXPECT_THAT(Refusal(R"({"text": "a"})", {{"text_pair", "b"}}), HasSubstr("text/plain"));
  EXPECT_EQ(Refusal("a", {{"text_pair", "b"}, {"text_pair", "c"}}, "text/plain"),
            "text_pair is given twice");
}

TEST(ClassifyBodyTest, WhatBecomesOfScoresIsAnOption) {
  auto read =
      ReadClassifyBody(kJson, R"({"text": "x", "activation": "none", "threshold": -1})", {}, {});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->options.activation, Activation::kNone);
  EXPECT_EQ(read->options.threshold, -1.0F);
  read = ReadClassifyBody(kJson, R"({"text": "x", "threshold": 0.25})", {{"activation", "sigmoid"}},
                          {});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->options.activation, Activation::kSigmoid);
  EXPECT_EQ(read->options.threshold, 0.25F);
  for (const char* body :
       {R"({"activation": "Softmax"})", R"({"activation": 1})", R"({"activation": null})",
        R"({"threshold": "0.5"})", R"({"threshold": true})", R"({"threshold": 1e39})"}) {
    EXPECT_NE(Refusal(body), "not refused") << body;
  }
  for (const char* threshold : {"", "x", "nan", "inf", "0.5x"}) {
    EXPECT_THAT(Refusal("{}", {{"threshold", threshold}}), HasSubstr("expected a finite number"));
  }
  EXPECT_THAT(Refusal("{}", {{"activation", "relu"}}), HasSubstr("one of none, softmax, sigmoid"));
}

TEST(ClassifyBodyTest, OptionsComeFromTheQueryAndTheBody) {
  const auto read = ReadClassifyBody(
      kJson, R"({"text": "x", "top_k": 3, "softmax": false, "version_label": "stable"})",
      {{"priority", "high"}, {"timeout_ms", "4294967295"}}, {});
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->options.top_k, 3);
  EXPECT_EQ(read->options.softmax, false);
  EXPECT_EQ(read->options.version_label, "stable");
  EXPECT_EQ(read->options.priority, Priority::kHigh);
  EXPECT_EQ(read->options.timeout_ms, 4294967295);
}

TEST(ClassifyBodyTest, AnOptionIsGivenOnceAndOfItsType) {
  EXPECT_EQ(Refusal(R"({"text": "x", "top_k": 3})", {{"top_k", "3"}}), "top_k is given twice");
  EXPECT_EQ(Refusal("{}", {{"softmax", "true"}, {"softmax", "true"}}), "softmax is given twice");
  const struct {
    const char* name;
    const char* value;
    const char* expected;
  } cases[] = {
      {"top_k", "0", "an integer of 1 to 1000"},
      {"top_k", "1001", "an integer of 1 to 1000"},
      {"top_k", "3x", "an integer of 1 to 1000"},
      {"top_k", "99999999999999999999", "an integer of 1 to 1000"},
      {"softmax", "yes", "true or false"},
      {"priority", "HIGH", "one of high, normal, low"},
      {"timeout_ms", "-1", "an integer of 0 to 4294967295"},
      {"timeout_ms", "4294967296", "an integer of 0 to 4294967295"},
      {"raw", "1", "expected one of top_k"},
  };
  for (const auto& test : cases) {
    EXPECT_THAT(Refusal("{}", {{test.name, test.value}}), HasSubstr(test.expected)) << test.name;
  }
  for (const char* body : {R"({"top_k": "3"})", R"({"top_k": 3.5})", R"({"top_k": null})",
                           R"({"top_k": true})", R"({"softmax": "true"})", R"({"softmax": 1})",
                           R"({"priority": 1})", R"({"version_label": 1})", R"({"top_k": [3]})",
                           R"({"top_k": 99999999999999999999})", R"({"top_k": {}})"}) {
    EXPECT_NE(Refusal(body), "not refused") << body;
  }
}

std::string Form(const std::vector<std::pair<std::string, std::string>>& parts) {
  std::string body;
  for (const auto& [name, content] : parts) {
    body += "--b\r\nContent-Disposition: form-data; name=\"" + name +
            "\"; filename=\"x\"\r\nContent-Type: image/png\r\n\r\n" + content + "\r\n";
  }
  return body + "--b--\r\n";
}

TEST(FormBodyTest, PartsAreItemsAndOptions) {
  constexpr char kForm[] = "multipart/form-data; boundary=b";
  const std::string body =
      Form({{"image", "one\r\n--c"}, {"top_k", "2"}, {"text", "words"}, {"image", ""}});
  EXPECT_THAT(Items(kForm, body), ElementsAre("image one\r\n--c", "text words", "image "));
  EXPECT_THAT(Items("multipart/form-data; charset=x; boundary=\"b\"", body),
              ElementsAre("image one\r\n--c", "text words", "image "));
  EXPECT_THAT(Items(kForm, "--b--"), ElementsAre());
  EXPECT_THAT(Items(kForm, "nobody reads this\r\n" + body),
              ElementsAre("image one\r\n--c", "text words", "image "));
  EXPECT_THAT(Items(kForm, "--b \t\r\nContent-Disposition: form-data; name=text\r\n\r\nx\r\n--b--"),
              ElementsAre("text x"));
  EXPECT_THAT(Refusal(Form({{"picture", "x"}}), {}, kForm), HasSubstr("'picture'"));
  EXPECT_THAT(Refusal(Form({{"top_k", "x"}}), {}, kForm), HasSubstr("top_k: got 'x'"));
}

TEST(FormBodyTest, ASecondTextFollowsItsFirst) {
  constexpr char kForm[] = "multipart/form-data; boundary=b";
  EXPECT_THAT(Items(kForm, Form({{"text", "a"},
                                 {"text_pair", "b"},
                                 {"text", "c"},
                                 {"text", "d"},
                                 {"threshold", "0.5"},
                                 {"text_pair", "e"}})),
              ElementsAre("text a and b", "text c", "text d and e"));
  EXPECT_THAT(Items(kForm, Form({{"text", "\xff"}, {"text_pair", "b"}})),
              ElementsAre("text: it is no UTF-8"));
  using Parts = std::vector<std::pair<std::string, std::string>>;
  for (const Parts& parts : {Parts{{"text_pair", "b"}}, Parts{{"image", "a"}, {"text_pair", "b"}},
                             Parts{{"text", "a"}, {"text_pair", "b"}, {"text_pair", "c"}}}) {
    EXPECT_EQ(Refusal(Form(parts), {}, kForm),
              "text_pair: expected after the part text that it belongs to");
  }
}

TEST(FormBodyTest, WhatIsNoFormIsRefused) {
  constexpr char kForm[] = "multipart/form-data; boundary=b";
  const std::string good = Form({{"image", "x"}});
  EXPECT_THAT(Refusal(good, {}, "multipart/form-data"), HasSubstr("boundary"));
  EXPECT_THAT(Refusal(good, {}, "multipart/form-data; boundary="), HasSubstr("boundary"));
  EXPECT_THAT(Refusal(good, {}, "multipart/form-data; boundary=other"), HasSubstr("begin"));
  for (const char* body :
       {"", "--b", "--b\r\n", "--bx", "--b\r\n\r\n\r\n--b--", "--b\r\nA: b\r\n\r\nx\r\n--b--",
        "--b\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nx"}) {
    EXPECT_NE(Refusal(body, {}, kForm), "not refused") << body;
  }
  std::vector<std::pair<std::string, std::string>> many(1000, {"image", "x"});
  EXPECT_THAT(Refusal(Form(many), {}, kForm), HasSubstr("parts"));
}

// Whatever comes in is read or refused; what is read borrows from what is still there, which
// AddressSanitizer watches. Refusals are short and printable.
void ReadAnything(const std::string& type, const std::string& body) {
  const auto read = ReadClassifyBody(type, body, {}, {1 << 16});
  if (read.ok()) {
    for (const ClassifyItem& item : read->items) Shown(item);
    EXPECT_LE(read->owned_bytes, static_cast<int64_t>(4 * body.size() + 64));
    return;
  }
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_LT(read.status().message().size(), 400u);
  for (const char c : read.status().message()) EXPECT_TRUE(c >= ' ' && c <= '~') << body;
}

TEST(ClassifyBodyTest, MutatedBodiesAreReadOrRefused) {
  const std::string seeds[] = {
      R"({"items":[{"image":"aGk="},{"text":"h\u00e9"},{"tensors":[{"name":"x","data":[[1,2],[3,4.5e3]],)"
      R"("shape":[2,2],"data_type":"float32"},{"base64":"AAA=","shape":[2],"data_type":"uint8"}]}],)"
      R"("top_k":3,"softmax":true,"threshold":0.5,"activation":"none","version_label":"a"})",
      Form({{"image", "x"}, {"top_k", "2"}, {"text", "words"}, {"text_pair", "more"}})};
  const std::string spice = "{}[]\",:\\-.eE0123456789tfnul\xff\x80\r\n;=b";
  std::mt19937 random(8);
  const auto below = [&](size_t end) {
    return std::uniform_int_distribution<size_t>(0, end - 1)(random);
  };
  for (int round = 0; round < 20'000; ++round) {
    const bool json = round % 2 == 0;
    std::string body = seeds[json ? 0 : 1];
    for (size_t changes = 1 + below(6); changes > 0 && !body.empty(); --changes) {
      const size_t at = below(body.size());
      switch (below(4)) {
        case 0:
          body[at] = spice[below(spice.size())];
          break;
        case 1:
          body.insert(at, 1, spice[below(spice.size())]);
          break;
        case 2:
          body.erase(at, 1 + below(8));
          break;
        default:
          body.insert(at, body.substr(below(body.size()), below(40)));
      }
    }
    ReadAnything(json ? kJson : "multipart/form-data; boundary=b", body);
  }
}

}  // namespace
}  // namespace torchd
