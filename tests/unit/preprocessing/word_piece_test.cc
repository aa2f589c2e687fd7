#include "server/preprocessing/text/word_piece.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
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

}  // namespace
}  // namespace torchd
