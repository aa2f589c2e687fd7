#include "server/config/text_proto.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace torchd {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

// The tree on one line: strings in quotes, numbers after '#', identifiers plain, messages in
// braces.
std::string Render(const TextField& message) {
  std::string text;
  for (const TextField& field : message.fields) {
    if (!text.empty()) text += ' ';
    text += field.name;
    switch (field.kind) {
      case TextField::Kind::kString:
        text += "='" + field.text + "'";
        break;
      case TextField::Kind::kNumber:
        text += "=#" + field.text;
        break;
      case TextField::Kind::kIdentifier:
        text += "=" + field.text;
        break;
      case TextField::Kind::kMessage:
        text += "{" + Render(field) + "}";
        break;
    }
  }
  return text;
}

TextField Good(absl::string_view text) {
  const auto parsed = ParseTextProto("t", text);
  EXPECT_TRUE(parsed.ok()) << parsed.status() << "\n" << text;
  return parsed.ok() ? *parsed : TextField{};
}

std::string Error(absl::string_view text) {
  const auto parsed = ParseTextProto("t", text);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text.substr(0, 200);
  return std::string(parsed.status().message());
}

struct Case {
  absl::string_view text, expected;
};

TEST(TextProtoTest, TakesEveryShapeOfAField) {
  const std::vector<Case> cases = {
      {"", ""},
      {" \t\r\n\v\f# only a comment", ""},
      {"a: 1", "a=#1"},
      {"a:1 b :2", "a=#1 b=#2"},
      {"a: 1, b: 2; c: 3;", "a=#1 b=#2 c=#3"},
      {"a: 1#one\nb: 2", "a=#1 b=#2"},
      {"a { b: 1 }", "a{b=#1}"},
      {"a: { b: 1 }", "a{b=#1}"},
      {"a < b: 1 >", "a{b=#1}"},
      {"a: <b: <c {}>>", "a{b{c{}}}"},
      {"a {}", "a{}"},
      {"a { b: 1; c: 2, }", "a{b=#1 c=#2}"},
      {"a: [1, -2, x, 'y']", "a=#1 a=#-2 a=x a='y'"},
      {"a: []", ""},
      {"a []", ""},
      {"a: [] b: 1", "b=#1"},
      {"a [ { b: 1 }, < c: 2 > ],", "a{b=#1} a{c=#2}"},
      {"a: [ { b: 1 } ]", "a{b=#1}"},
      {"a: 1 a: 2", "a=#1 a=#2"},
      {"[x.y.z]: 1 [ n ] { a: 1 }", "[x.y.z]=#1 [n]{a=#1}"},
      {"[type.org/x.Y] { a: 1 }", "[type.org/x.Y]{a=#1}"},
      {"a: 10[x]: 1", "a=#10 [x]=#1"},
      {"_a1: TYPE_FP32 B: true", "_a1=TYPE_FP32 B=true"},
  };
  for (const Case& c : cases) EXPECT_EQ(Render(Good(c.text)), c.expected) << c.text;
}

TEST(TextProtoTest, TakesEveryShapeOfANumber) {
  const std::vector<Case> cases = {
      {"a: 0", "a=#0"},
      {"a: -7", "a=#-7"},
      {"a: - # c\n 7", "a=#-7"},
      {"a: 0x1Fa", "a=#0x1Fa"},
      {"a: 0X0", "a=#0X0"},
      {"a: -017", "a=#-017"},
      {"a: 1.5f", "a=#1.5f"},
      {"a: 1F", "a=#1F"},
      {"a: .5", "a=#.5"},
      {"a: 1.", "a=#1."},
      {"a: 1.e3", "a=#1.e3"},
      {"a: 2E-7f", "a=#2E-7f"},
      {"a: 1e+10", "a=#1e+10"},
      {"a: inf", "a=inf"},
      {"a: -inf", "a=#-inf"},
      {"a: -NaN", "a=#-NaN"},
      {"a: nan", "a=nan"},
      {"a: -Infinity", "a=#-Infinity"},
      {"a: [1,.5,0x1]", "a=#1 a=#.5 a=#0x1"},
  };
  for (const Case& c : cases) EXPECT_EQ(Render(Good(c.text)), c.expected) << c.text;
}

TEST(TextProtoTest, ResolvesTheEscapesOfStrings) {
  const std::vector<Case> cases = {
      {R"(a: "")", ""},
      {R"(a: 'it"s' )", "it\"s"},
      {R"(a: "it's")", "it's"},
      {R"(a: "a" 'b'
         # between the pieces
         "c")",
       "abc"},
      {R"(a: "\a\b\f\n\r\t\v\\\?\'\"")", "\a\b\f\n\r\t\v\\?'\""},
      {R"(a: "\1\12\1234\400")", absl::string_view("\1\nS4\0", 5)},
      {R"(a: "\0a")", absl::string_view("\0a", 2)},
      {R"(a: "\x4\x41\X42g")", "\4ABg"},
      {R"(a: "\u00e9\u20AC")", "\xC3\xA9\xE2\x82\xAC"},
      {R"(a: "\U0001F600\ud83d\ude00")", "\xF0\x9F\x98\x80\xF0\x9F\x98\x80"},
      {R"(a: "\U0010FFFF\u0041")", "\xF4\x8F\xBF\xBF\x41"},
      {R"(a: "\xc3" "\xa9")", "\xC3\xA9"},  // Only the whole has to be UTF-8.
      {"a: \"\xC3\xA9\"", "\xC3\xA9"},
      {"a: \"x # no comment\"", "x # no comment"},
      {"a: \"tab\there\"", "tab\there"},
  };
  for (const Case& c : cases) {
    const TextField root = Good(c.text);
    ASSERT_THAT(root.fields, SizeIs(1)) << c.text;
    EXPECT_EQ(root.fields[0].kind, TextField::Kind::kString);
    EXPECT_EQ(root.fields[0].text, std::string(c.expected)) << c.text;
  }
}

TEST(TextProtoTest, EachFieldKnowsItsLine) {
  const TextField root = Good("# one\na: 1\n\nb {\n  c: [\n    'x'\n    'y',\n    2 ]\n}\nd:\n3");
  ASSERT_THAT(root.fields, SizeIs(3));
  EXPECT_EQ(root.fields[0].line, 2);
  EXPECT_EQ(root.fields[1].line, 4);
  ASSERT_THAT(root.fields[1].fields, SizeIs(2));
  EXPECT_EQ(root.fields[1].fields[0].line, 6);
  EXPECT_EQ(root.fields[1].fields[1].line, 8);
  EXPECT_EQ(root.fields[2].line, 10);
}

TEST(TextProtoTest, MistakesAreNamedWithTheirLineAndWhatWasExpected) {
  const std::vector<Case> cases = {
      {"\na", "t:2: found the end, expected : or { after \"a\""},
      {"a:\n", "t:2: found the end, expected a value of \"a\""},
      {"a: ,", "t:1: found \",\", expected a value of \"a\""},
      {"a 1", "t:1: found \"1\", expected : or { after \"a\""},
      {"a \"x\"", "t:1: found \"x\", expected : or {"},
      {"a - 1", "expected : or { after \"a\""},
      {"a [1]", "t:1: found \"1\", expected : or { after \"a\""},
      {"a: 1;;", "t:1: found \";\", expected the name of a field"},
      {",a: 1", "expected the name of a field"},
      {"a { , }", "expected the name of a field"},
      {"1: 2", "t:1: found \"1\", expected the name of a field"},
      {"\"a\": 2", "expected the name of a field"},
      {"a: 1 }", "t:1: found \"}\", expected the name of a field"},
      {"a: 1 ]", "found \"]\", expected the name of a field"},
      {"a {\n b: 1\n", "t:3: found the end, expected } of \"a\", opened in line 1"},
      {"a { b: 1 >", "t:1: found \">\", expected } of \"a\", opened in line 1"},
      {"a < b: 1 }", "t:1: found \"}\", expected > of \"a\""},
      {"a: [1", "t:1: found the end, expected , or ] in the list"},
      {"a: [1 2]", "found \"2\", expected , or ] in the list"},
      {"a: [1,]", "found \"]\", expected a value of \"a\""},
      {"a: [[1]]", "found \"[\", expected a value of \"a\""},
      {"a: [{}; {}]", "found \";\", expected , or ]"},
      {"[a", "found the end, expected ] after the name of an extension"},
      {"[a.]: 1", "found \"]\", expected the name of an extension"},
      {"[]: 1", "expected the name of an extension"},
      {"a: +1", "found \"+\", expected a value"},
      {"a: --1", "found \"-\", expected a number after -"},
      {"a: -x", "found \"x\", expected a number after -"},
      {"a: -'x'", "found \"x\", expected a number after -"},
      {"a: 0x", "0x without digits, expected a hexadecimal number"},
      {"a: 018", "t:1: a leading 0 and a digit 8 or 9, expected an octal number"},
      {"a: 1e", "e without digits, expected an exponent"},
      {"a: 1e+", "e without digits"},
      {"a: 10b: 1", "number 10 runs into \"b\", expected a blank"},
      {"a: 1_000", "number 1 runs into \"_\""},
      {"a: 1.2.3", "number 1.2 runs into \".\""},
      {"a: 0x1.5", "number 0x1 runs into \".\""},
      {"a: 1.5ff", "number 1.5f runs into \"f\""},
      {"a: \"x\n\"", "t:1: a string crosses the end of its line, expected its closing quote"},
      {"a: \"x\\\ny\"", "t:1: escape \\ in a string, expected one of"},
      {"a: 'x", "t:1: a string without an end, expected its closing quote"},
      {"a: 'x\\", "escape \\ in a string"},
      {R"(a: "\q")", "escape \\q in a string, expected one of \\a \\b"},
      {R"(a: "\x")", "escape \\x in a string"},
      {R"(a: "\u12")", "escape \\u or \\U in a string, expected \\uhhhh"},
      {R"(a: "\ud83d")", "escape \\u or \\U"},
      {R"(a: "\ud83d\u0041")", "escape \\u or \\U"},
      {R"(a: "\ude00")", "escape \\u or \\U"},
      {R"(a: "\U00110000")", "escape \\u or \\U"},
      {R"(a: "\U0000d83d")", "escape \\u or \\U"},
      {R"(a: "\xff")", "t:1: the string of \"a\" is not UTF-8"},
      {"a: '\xC0\x80'", "is not UTF-8"},
      {"a: '\xED\xA0\x80'", "is not UTF-8"},
      {"a: '\xF4\x90\x80\x80'", "is not UTF-8"},
      {"a: '\xE2\x82'", "is not UTF-8"},
      {"a: '\xE2\x28\xA1'", "is not UTF-8"},
      {"\xEF\xBB\xBF"
       "a: 1",
       "t:1: byte 239 outside of strings and comments"},
      {absl::string_view("a: 1\n\0", 6), "t:2: byte 0 outside of strings"},
      {absl::string_view("a: '\0'", 6), "byte 0 in a string, expected \\0"},
      {"a: 1 /* c */", "found \"/\", expected the name of a field"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(Error(c.text), AllOf(StartsWith("t:"), HasSubstr(std::string(c.expected))))
        << c.text;
  }
}

std::string Repeated(absl::string_view piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text.append(piece.data(), piece.size());
  return text;
}

TEST(TextProtoTest, LimitsAreWhereTheyAreSaidToBe) {
  Good(std::string(kTextProtoBytesMax, '#'));
  EXPECT_THAT(Error(std::string(kTextProtoBytesMax + 1, '#')), HasSubstr("at most 1048576"));

  Good(Repeated("a{", kTextProtoDepthMax) + Repeated("}", kTextProtoDepthMax));
  EXPECT_THAT(Error("\n" + Repeated("a<", kTextProtoDepthMax + 1)),
              HasSubstr("t:2: nested deeper than 64 levels"));
  Good(Repeated("a{}", 100));  // Side by side is not deep.

  EXPECT_THAT(Good(Repeated("a:1 ", kTextProtoFieldsMax)).fields, SizeIs(kTextProtoFieldsMax));
  EXPECT_THAT(Error(Repeated("a:1\n", kTextProtoFieldsMax + 1)),
              HasSubstr("t:10001: one field more than the 10000 allowed"));
  EXPECT_THAT(Error("a: [" + Repeated("1,", kTextProtoFieldsMax) + "1]"),
              HasSubstr("one field more"));

  Good(Repeated("a", kTextProtoNameBytesMax) + ": 1");
  EXPECT_THAT(Error(Repeated("a", kTextProtoNameBytesMax + 1) + ": 1"),
              HasSubstr("the name of a field has 256 bytes, expected at most 255"));
}

TEST(TextProtoTest, BombsEndInAnErrorSoon) {
  for (const char* piece :
       {"[", "{", "<", "a{", "a:[", "a:", "\"", "'' ", "-", "\\", "#\n}", "0"}) {
    Error("a " + Repeated(piece, 300'000) + "$");
  }
}

TextField Value(absl::string_view value) {
  const TextField root = Good("a: " + std::string(value));
  return root.fields.empty() ? TextField{} : root.fields[0];
}

TEST(TextProtoTest, IntegersAreDecimalOctalOrHexadecimal) {
  EXPECT_EQ(IntegerOf(Value("0")), 0);
  EXPECT_EQ(IntegerOf(Value("-0")), 0);
  EXPECT_EQ(IntegerOf(Value("017")), 15);
  EXPECT_EQ(IntegerOf(Value("-0x1F")), -31);
  EXPECT_EQ(IntegerOf(Value("9223372036854775807")), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(IntegerOf(Value("-9223372036854775808")), std::numeric_limits<int64_t>::min());
  for (const char* none : {"9223372036854775808", "0xFFFFFFFFFFFFFFFF", "1.0", "1f", "1e3", "-inf",
                           "nan", "'1'", "true", "{}"}) {
    EXPECT_EQ(IntegerOf(Value(none)), std::nullopt) << none;
  }
}

TEST(TextProtoTest, BooleansAreThoseOfProtobuf) {
  for (const char* yes : {"true", "True", "t", "1", "0x1"}) EXPECT_EQ(BoolOf(Value(yes)), true);
  for (const char* no : {"false", "False", "f", "0", "00"}) EXPECT_EQ(BoolOf(Value(no)), false);
  for (const char* none : {"TRUE", "2", "-1", "'true'", "yes", "1.0", "{}"}) {
    EXPECT_EQ(BoolOf(Value(none)), std::nullopt) << none;
  }
}

TEST(TextProtoTest, DescriptionsStayOnALineAndShort) {
  EXPECT_EQ(Describe(Value("'a\\nb'")), "\"a\\nb\"");
  EXPECT_EQ(Describe(Value("{ b: 1 }")), "a message");
  EXPECT_EQ(Describe(Value("-8")), "-8");
  EXPECT_THAT(Describe(Value(Repeated("x", 5000))), SizeIs(100));
  // Cut between characters, so that it stays UTF-8.
  EXPECT_EQ(Describe(Value("'x" + Repeated("\xC3\xA9", 200) + "'")),
            "\"x" + Repeated("\xC3\xA9", 99) + "\"");
}

// Whatever is done to a text, it parses to the same tree or error twice, and the tree can be read.
TEST(TextProtoTest, MutatedTextsNeverCrash) {
  const std::string seed =
      "name: \"a\\x41\\u00e9\" 'b'\nmax: 8; f: -1.5f, o: 017\ninput [ { dims: [ 3, -1 ] }, < t: X "
      "> ]\n"
      "[a.b]: inf p { key: 'k' value: { s: \"v\" } } # end\n";
  const std::string alphabet =
      "{}[]<>:;,.-+/\\\"'#\n ax0189efTuU_\xC3\xA9\x01" + std::string(1, '\0');
  std::mt19937 random(20240611);  // NOLINT(bugprone-random-generator-seed): the same every time.
  const auto below = [&](size_t n) { return random() % n; };
  int good = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = seed;
    for (size_t changes = 1 + below(4); changes > 0; --changes) {
      const size_t at = below(text.size());
      switch (below(4)) {
        case 0:
          text[at] = alphabet[below(alphabet.size())];
          break;
        case 1:
          text.insert(at, 1, alphabet[below(alphabet.size())]);
          break;
        case 2:
          text.erase(at, 1 + below(8));
          break;
        default:
          text.insert(at, text.substr(below(text.size()), below(16)));
          break;
      }
    }
    const auto parsed = ParseTextProto("t", text);
    const auto again = ParseTextProto("t", text);
    ASSERT_EQ(parsed.status(), again.status()) << text;
    if (!parsed.ok()) {
      ASSERT_THAT(std::string(parsed.status().message()), StartsWith("t:")) << text;
      continue;
    }
    ++good;
    ASSERT_EQ(Render(*parsed), Render(*again));
  }
  EXPECT_GT(good, 1000);  // Else the mutations test nothing but the first error.
}

}  // namespace
}  // namespace torchd
