#include "server/http/classify_body.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Query = std::vector<std::pair<std::string, std::string>>;

constexpr char kJson[] = "application/json";

// What an item became: "image BYTES", "text BYTES", "tensors NAME float32[2] 1 2;", or its status.
std::string Shown(const ClassifyItem& item) {
  if (const auto* status = std::get_if<absl::Status>(&item)) {
    EXPECT_EQ(status->code(), absl::StatusCode::kInvalidArgument);
    return std::string(status->message());
  }
  if (const auto* image = std::get_if<ImageItem>(&item))
    return absl::StrCat("image ", image->bytes);
  if (const auto* text = std::get_if<TextItem>(&item)) return absl::StrCat("text ", text->text);
  std::string shown = "tensors";
  for (const NamedTensor& tensor : std::get<TensorItem>(item)) {
    const TensorView& view = tensor.view;
    absl::StrAppend(&shown, " ", tensor.name, " ", Name(view.type), ShapeText(view.shape));
    for (size_t i = 0; i < view.bytes / SizeOf(view.type); ++i) {
      switch (view.type) {
        case DataType::kUint8:
          absl::StrAppend(&shown, " ", static_cast<const uint8_t*>(view.data)[i]);
          break;
        case DataType::kInt32:
          absl::StrAppend(&shown, " ", static_cast<const int32_t*>(view.data)[i]);
          break;
        case DataType::kInt64:
          absl::StrAppend(&shown, " ", static_cast<const int64_t*>(view.data)[i]);
          break;
        case DataType::kFloat32:
          absl::StrAppend(&shown, " ", static_cast<const float*>(view.data)[i]);
          break;
      }
    }
    shown += ";";
  }
  return shown;
}

std::vector<std::string> Items(absl::string_view type, absl::string_view body,
                               const Query& query = {}) {
  const auto read = ReadClassifyBody(type, body, query, {});
  if (!read.ok()) return {"refused: " + std::string(read.status().message())};
  std::vector<std::string> shown;
  for (const ClassifyItem& item : read->items) shown.push_back(Shown(item));
  return shown;
}

// Of a body that is refused as a whole.
std::string Refusal(absl::string_view body, const Query& query = {},
                    absl::string_view type = kJson) {
  const auto read = ReadClassifyBody(type, body, query, {});
  if (read.ok()) return "not refused";
  EXPECT_EQ(read.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(read.status().message());
}

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
  EXPECT_THAT(Refusal(Form({{"picture", "x"}}), {}, kForm), HasSubstr("'picture'"));
  EXPECT_THAT(Refusal(Form({{"top_k", "x"}}), {}, kForm), HasSubstr("top_k: got 'x'"));
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
      R"("top_k":3,"softmax":true,"priority":"low","timeout_ms":10,"version_label":"a"})",
      Form({{"image", "x"}, {"top_k", "2"}, {"text", "words"}})};
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
