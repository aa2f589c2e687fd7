#include "server/preprocessing/text/word_piece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"

namespace torchd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kTiny[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\n##s\n";  // ids 0 to 5

std::string DataFile(const std::string& name) {
  std::ifstream file(std::string(TORCHD_SOURCE_DIR) + "/tests/data/word_piece/" + name);
  std::stringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

WordPiece Tokenizer(absl::string_view vocabulary, WordPiece::Options options = {}) {
  absl::StatusOr<WordPiece> tokenizer = WordPiece::FromVocabulary(vocabulary, options);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

std::vector<int64_t> Ids(const WordPiece& tokenizer, absl::string_view text) {
  absl::StatusOr<std::vector<int64_t>> ids = tokenizer.Encode(text);
  EXPECT_TRUE(ids.ok()) << ids.status();
  return ids.ok() ? *ids : std::vector<int64_t>();
}

void ExpectGolden(const std::string& answer, WordPiece::Options options) {
  const WordPiece tokenizer = Tokenizer(DataFile("vocab.txt"), options);
  const nlohmann::json cases = nlohmann::json::parse(DataFile("golden.json"));
  ASSERT_GT(cases.size(), 250u);
  for (const nlohmann::json& test_case : cases) {
    EXPECT_EQ(Ids(tokenizer, test_case["text"].get<std::string>()),
              test_case[answer].get<std::vector<int64_t>>())
        << test_case["text"].dump(-1, ' ', /*ensure_ascii=*/true).substr(0, 300);
  }
}

TEST(WordPieceTest, UncasedIdsAreThoseOfHuggingFace) {
  ExpectGolden("uncased", {.lowercase = true, .tokens_max = 512});
}

TEST(WordPieceTest, CasedIdsAreThoseOfHuggingFace) {
  ExpectGolden("cased", {.lowercase = false, .tokens_max = 512});
}

TEST(WordPieceTest, CutIdsAreThoseOfHuggingFace) {
  ExpectGolden("uncased_of_5", {.lowercase = true, .tokens_max = 5});
}

TEST(WordPieceTest, TwoTokensAtMostLeaveClsAndSep) {
  const WordPiece tokenizer = Tokenizer(kTiny, {.lowercase = true, .tokens_max = 2});
  EXPECT_THAT(Ids(tokenizer, "cats cats"), ElementsAre(2, 3));
  EXPECT_THAT(Ids(tokenizer, "[SEP][SEP] cat"), ElementsAre(2, 3));
}

TEST(WordPieceTest, LineEndsOfAnyKindGiveTheSameIds) {
  const std::string crlf = absl::StrReplaceAll(kTiny, {{"\n", "\r\n"}});
  const std::string open = std::string(kTiny).substr(0, sizeof(kTiny) - 2);  // No last newline.
  for (const std::string& vocabulary : {std::string(kTiny), crlf, open}) {
    EXPECT_THAT(Ids(Tokenizer(vocabulary), "Cats dog"), ElementsAre(2, 4, 5, 1, 3));
  }
}

TEST(WordPieceTest, AnEmptyLineKeepsItsIdAndTheLaterOfTwoPiecesWins) {
  const WordPiece tokenizer = Tokenizer(std::string(kTiny) + "\ndog\ncat\n");
  EXPECT_THAT(Ids(tokenizer, "dog cat"), ElementsAre(2, 7, 8, 3));
}

TEST(WordPieceTest, MaskIsOrdinaryTextWithoutAPieceForIt) {
  EXPECT_THAT(Ids(Tokenizer(kTiny), "[MASK]"), ElementsAre(2, 1, 1, 1, 3));
  EXPECT_THAT(Ids(Tokenizer(std::string(kTiny) + "[MASK]"), "[MASK]"), ElementsAre(2, 6, 3));
}

TEST(WordPieceTest, AVocabularyWithoutASpecialTokenIsRefusedByItsName) {
  for (const std::string special : {"[PAD]", "[UNK]", "[CLS]", "[SEP]"}) {
    const auto tokenizer =
        WordPiece::FromVocabulary(absl::StrReplaceAll(kTiny, {{special, "dog"}}), {});
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument) << special;
    EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("has no " + special));
  }
  EXPECT_FALSE(WordPiece::FromVocabulary("", {}).ok());
}

TEST(WordPieceTest, AVocabularyThatIsNotUtf8IsRefusedWithItsLine) {
  const auto tokenizer = WordPiece::FromVocabulary(std::string(kTiny) + "caf\xE9\n", {});
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("line 7"));
}

TEST(WordPieceTest, FewerThanTwoTokensAreRefused) {
  const auto tokenizer = WordPiece::FromVocabulary(kTiny, {.lowercase = true, .tokens_max = 1});
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("tokens_max is 1"));
}

TEST(WordPieceTest, TextThatIsNotUtf8IsRefusedWithThePlace) {
  const WordPiece tokenizer = Tokenizer(kTiny, {.lowercase = true, .tokens_max = 2});
  // A lone byte, a cut sequence, an overlong slash, a surrogate, beyond 10FFFF.
  for (const std::string bad :
       {"\xE9", "\xE2\x82", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80"}) {
    const auto ids = tokenizer.Encode("cats " + bad);  // Checked beyond what is cut, too.
    EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(ids.status().message()), HasSubstr("at byte 5"));
  }
}

// ICU's own canonical ordering takes minutes for this run of marks.
TEST(WordPieceTest, ALongRunOfMarksTakesNoQuadraticTime) {
  const WordPiece tokenizer = Tokenizer(kTiny);
  std::string text = "cat";
  for (int i = 0; i < 500'000; ++i) text += "\xCC\x81\xE3\x80\xAE\xCC\x96\xE1\xAE\xAB";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THAT(Ids(tokenizer, text), ElementsAre(2, 1, 3));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

// Hugging Face's longest_first: what the shorter text leaves, the longer one has.
TEST(WordPieceTest, PairsShareTheTokensThereAre) {
  const auto ids = [](int tokens_max, absl::string_view first, absl::string_view second) {
    const auto pair = Tokenizer(kTiny, {.tokens_max = tokens_max}).EncodePair(first, second);
    EXPECT_TRUE(pair.ok()) << pair.status();
    EXPECT_EQ(pair->ids[pair->second - 1], 3);
    return pair->ids;
  };
  EXPECT_THAT(ids(9, "cat", "cats"), ElementsAre(2, 4, 3, 4, 5, 3));
  EXPECT_THAT(ids(7, "cat", "cats cats"), ElementsAre(2, 4, 3, 4, 5, 4, 3));
  EXPECT_THAT(ids(7, "cats cats", "cat"), ElementsAre(2, 4, 5, 4, 3, 4, 3));
  EXPECT_THAT(ids(7, "cats cats cats", "cats cats"), ElementsAre(2, 4, 5, 3, 4, 5, 3));
  EXPECT_THAT(ids(8, "cats cats cats", "cats cats"), ElementsAre(2, 4, 5, 4, 3, 4, 5, 3));
  EXPECT_THAT(ids(8, "cats cats", "cats cats"), ElementsAre(2, 4, 5, 3, 4, 5, 4, 3));
  EXPECT_THAT(ids(3, "cats", "cat"), ElementsAre(2, 3, 3));
  EXPECT_THAT(ids(4, "", ""), ElementsAre(2, 3, 3));
  const auto refused = Tokenizer(kTiny, {.tokens_max = 2}).EncodePair("cat", "cat");
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("needs 3 tokens"));
  EXPECT_EQ(Tokenizer(kTiny).EncodePair("cat", "\xff").status().code(),
            absl::StatusCode::kInvalidArgument);
}

// How many tokens of each text stay.
std::pair<int, int> Kept(int tokens_max, int first, int second) {
  const auto text = [](int words) {
    std::string repeated;
    for (int i = 0; i < words; ++i) repeated += "cat ";
    return repeated;
  };
  const auto pair =
      Tokenizer(kTiny, {.tokens_max = tokens_max}).EncodePair(text(first), text(second));
  EXPECT_TRUE(pair.ok()) << pair.status();
  const auto second_begins = static_cast<int>(pair->second);
  return {second_begins - 2, static_cast<int>(pair->ids.size()) - second_begins - 1};
}

// Both were once cut to what there is room for before they were compared, so the second always
// counted as the longer. The numbers are BertTokenizer's.
TEST(WordPieceTest, OfTwoLongTextsTheLongerKeepsTheOddToken) {
  const std::pair<int, int> lengths[] = {{1000, 600}, {511, 510}, {1000, 509}, {1000, 508}};
  for (const auto& [longer, shorter] : lengths) {
    SCOPED_TRACE(longer * 10'000 + shorter);
    EXPECT_EQ(Kept(512, longer, shorter), std::pair(255, 254));
    EXPECT_EQ(Kept(512, shorter, longer), std::pair(254, 255));
    EXPECT_EQ(Kept(128, longer, shorter), std::pair(63, 62));
    EXPECT_EQ(Kept(128, shorter, longer), std::pair(62, 63));
    EXPECT_EQ(Kept(127, longer, shorter), std::pair(62, 62));
    EXPECT_EQ(Kept(127, shorter, longer), std::pair(62, 62));
  }
  EXPECT_EQ(Kept(512, 700, 700), std::pair(254, 255));
  EXPECT_EQ(Kept(512, 300, 254), std::pair(255, 254));
}

nlohmann::json TokenizerJson() {
  return nlohmann::json::parse(R"({
    "added_tokens": [{"id": 3, "content": "[SEP]", "lstrip": false, "normalized": false}],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                   "strip_accents": null, "lowercase": false},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 100,
              "vocab": {"[PAD]": 7, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "cat": 14, "##s": 15}}})");
}

TEST(WordPieceTest, TokenizerJsonSaysAsMuchAsAVocabulary) {
  const auto made = WordPiece::FromTokenizerJson(TokenizerJson().dump(), std::nullopt, 16);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_THAT(Ids(*made, "cats Cat"), ElementsAre(2, 14, 15, 1, 3));
  EXPECT_EQ(made->padding(), 7);
  const auto lowercase = WordPiece::FromTokenizerJson(TokenizerJson().dump(), true, 16);
  ASSERT_TRUE(lowercase.ok()) << lowercase.status();
  EXPECT_THAT(Ids(*lowercase, "cats Cat"), ElementsAre(2, 14, 15, 14, 3));
}

TEST(WordPieceTest, TokenizerJsonOfAnotherKindIsRefusedByName) {
  struct Case {
    std::string pointer, value, message;
  };
  const Case cases[] = {
      {"/model/type", "\"BPE\"", "model.type is \"BPE\", expected \"WordPiece\""},
      {"/model/unk_token", "\"<unk>\"", "model.unk_token"},
      {"/model/continuing_subword_prefix", "\"\"", "model.continuing_subword_prefix"},
      {"/model/max_input_chars_per_word", "50", "model.max_input_chars_per_word is 50"},
      {"/model/vocab", "[]", "model.vocab is [], expected a mapping"},
      {"/model/vocab/cat", "-1", "model.vocab: an id is -1"},
      {"/model/vocab/cat", "2147483648", "an id is 2147483648, expected 0 to 2147483647"},
      {"/model/vocab/cat", "18446744073709551615", "an id is 18446744073709551615"},
      {"/model/vocab", "{}", "has no [CLS]"},
      {"/pre_tokenizer", "null", "pre_tokenizer.type is null"},
      {"/normalizer/type", "\"NFC\"", "normalizer.type is \"NFC\""},
      {"/normalizer/lowercase", "0", "normalizer.lowercase is 0, expected true or false"},
      {"/normalizer/strip_accents", "true", "normalizer.strip_accents is true"},
      {"/normalizer/clean_text", "false", "normalizer.clean_text is false"},
      {"/normalizer/handle_chinese_chars", "false", "normalizer.handle_chinese_chars"},
      {"/added_tokens/0/content", "\"<s>\"", "added_tokens is \"<s>\""},
      {"/added_tokens/0/lstrip", "true", "added_tokens: lstrip is true"},
  };
  for (const Case& test : cases) {
    nlohmann::json json = TokenizerJson();
    json[nlohmann::json::json_pointer(test.pointer)] = nlohmann::json::parse(test.value);
    const auto made = WordPiece::FromTokenizerJson(json.dump(), std::nullopt, 16);
    ASSERT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument) << test.pointer;
    EXPECT_THAT(std::string(made.status().message()), HasSubstr(test.message));
  }
  EXPECT_FALSE(WordPiece::FromTokenizerJson("{", std::nullopt, 16).ok());
  EXPECT_FALSE(WordPiece::FromTokenizerJson(TokenizerJson().dump(), std::nullopt, 1).ok());
}

}  // namespace
}  // namespace torchd
