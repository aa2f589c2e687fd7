// The first byte chooses: a text or a pair, cased or uncased, or a vocabulary of either kind. The
// rest is that.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/preprocessing/text/word_piece.h"

namespace {

constexpr int kTokensMax = 24;
constexpr char kVocabulary[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\ncat\ntac\n##a\n##b\n##s\n##é\né\n日\n-\n!\n1\n##1\n";

const torchd::WordPiece& Tokenizer(bool lowercase) {
  static const auto cased = *torchd::WordPiece::FromVocabulary(kVocabulary, {false, kTokensMax});
  static const auto uncased = *torchd::WordPiece::FromVocabulary(kVocabulary, {true, kTokensMax});
  return lowercase ? uncased : cased;
}

void CheckIds(const std::vector<int64_t>& ids) {
  if (ids.size() < 2 || ids.size() > kTokensMax || ids.front() != 2 || ids.back() != 3) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const int choice = data[0] % 6;
  const absl::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (choice < 2) {
    const auto ids = Tokenizer(choice == 0).Encode(rest);
    if (ids.ok()) CheckIds(*ids);
  } else if (choice < 4) {
    const size_t half = rest.size() / 2;
    const auto pair = Tokenizer(choice == 2).EncodePair(rest.substr(0, half), rest.substr(half));
    if (!pair.ok()) return 0;
    CheckIds(pair->ids);
    if (pair->second < 2 || pair->second >= pair->ids.size() || pair->ids[pair->second - 1] != 3) {
      std::abort();
    }
  } else if (choice == 4) {
    const auto made = torchd::WordPiece::FromVocabulary(rest, {true, kTokensMax});
    if (made.ok() && !made->Encode("a cat").ok()) std::abort();
  } else {
    const auto made =
        torchd::WordPiece::FromTokenizerJson(std::string(rest), std::nullopt, kTokensMax);
    if (made.ok() && !made->Encode("a cat").ok()) std::abort();
  }
  return 0;
}
