#include "server/preprocessing/text/word_piece.h"

#include <unicode/utf8.h>

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "server/base/status_macros.h"
#include "server/preprocessing/text/word_splitter.h"

namespace torchd {
namespace {

constexpr absl::string_view kContinuation = "##";

// The offset of the first byte that is not UTF-8.
std::optional<size_t> FirstInvalid(absl::string_view text) {
  for (size_t next = 0; next < text.size();) {
    const size_t start = next;
    UChar32 c = 0;
    U8_NEXT(text.data(), next, text.size(), c);
    if (c < 0) return start;
  }
  return std::nullopt;
}

absl::Status CheckUtf8(absl::string_view text) {
  const std::optional<size_t> invalid = FirstInvalid(text);
  if (!invalid.has_value()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("text of ", text.size(), " bytes is not UTF-8 ",
                                                 "at byte ", *invalid, "; expected UTF-8"));
}

bool StartsCharacter(std::string_view word, size_t at) {
  return at == word.size() || !U8_IS_TRAIL(word[at]);
}

}  // namespace

absl::Status WordPiece::CheckTokensMax(int tokens_max) {
  if (tokens_max >= 2) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tokens_max is ", tokens_max, "; [CLS] and [SEP] alone need 2"));
}

absl::StatusOr<WordPiece> WordPiece::FromVocabulary(absl::string_view vocabulary, Options options) {
  TORCHD_RETURN_IF_ERROR(CheckTokensMax(options.tokens_max));
  WordPiece tokenizer;
  tokenizer.options_ = options;
  TORCHD_RETURN_IF_ERROR(tokenizer.AddLines(vocabulary));
  TORCHD_RETURN_IF_ERROR(tokenizer.FindSpecials());
  return tokenizer;
}

absl::Status WordPiece::AddLines(absl::string_view vocabulary) {
  for (int64_t id = 0; !vocabulary.empty(); ++id) {
    const size_t end = vocabulary.find('\n');
    const absl::string_view piece = absl::StripSuffix(vocabulary.substr(0, end), "\r");
    vocabulary.remove_prefix(end == absl::string_view::npos ? vocabulary.size() : end + 1);
    if (FirstInvalid(piece).has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat("line ", id + 1, " of the vocabulary is not UTF-8"));
    }
    AddPiece(piece, id);
  }
  return absl::OkStatus();
}

void WordPiece::AddPiece(absl::string_view piece, int64_t id) {
  // No word begins with "##": each # is a word of its own.
  Pieces& pieces = absl::ConsumePrefix(&piece, kContinuation) ? later_pieces_ : first_pieces_;
  pieces[std::string(piece)] = id;
  piece_bytes_max_ = std::max(piece_bytes_max_, piece.size());
}

absl::Status WordPiece::FindSpecials() {
  for (const char* special : kSpecialTokens) {
    const auto found = first_pieces_.find(std::string_view(special));
    if (found != first_pieces_.end()) {
      specials_.emplace_back(special, found->second);
    } else if (std::string_view(special) != "[MASK]") {
      return absl::InvalidArgumentError(
          absl::StrCat("the vocabulary of ", first_pieces_.size() + later_pieces_.size(),
                       " pieces has no ", special, "; expected that of a BERT model"));
    }
  }
  cls_ = specials_[0].second;
  sep_ = specials_[1].second;
  unknown_ = specials_[2].second;
  padding_ = specials_[3].second;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> WordPiece::Encode(absl::string_view text) const {
  TORCHD_RETURN_IF_ERROR(CheckUtf8(text));
  std::vector<int64_t> ids = FirstIds(text, static_cast<size_t>(options_.tokens_max) - 2);
  ids.insert(ids.begin(), cls_);
  ids.push_back(sep_);
  return ids;
}

absl::StatusOr<WordPiece::Pair> WordPiece::EncodePair(absl::string_view first,
                                                      absl::string_view second) const {
  constexpr int kFrame = 3;  // [CLS], and [SEP] twice.
  if (options_.tokens_max < kFrame) {
    return absl::InvalidArgumentError(absl::StrCat("a pair of texts needs ", kFrame,
                                                   " tokens and more, the model's tokens_max is ",
                                                   options_.tokens_max));
  }
  const size_t room = static_cast<size_t>(options_.tokens_max - kFrame);
  TORCHD_RETURN_IF_ERROR(CheckUtf8(first));
  TORCHD_RETURN_IF_ERROR(CheckUtf8(second));
  std::vector<int64_t> one = FirstIds(first, room + 1);
  std::vector<int64_t> two = FirstIds(second, room + 1);
  if (one.size() + two.size() > room) {
    bool first_is_longer = one.size() > two.size();
    // Two that are both beyond what there is room for have been cut to one size. Which is the
    // longer matters where half a token is left over.
    if (room % 2 == 1 && one.size() > room && two.size() > room) {
      first_is_longer = CountIds(first) > CountIds(second);
    }
    std::vector<int64_t>& longer = first_is_longer ? one : two;
    std::vector<int64_t>& shorter = first_is_longer ? two : one;
    const size_t half = room / 2;
    if (shorter.size() > half) shorter.resize(half);
    longer.resize(room - shorter.size());
  }
  Pair pair;
  pair.ids.push_back(cls_);
  pair.ids.insert(pair.ids.end(), one.begin(), one.end());
  pair.ids.push_back(sep_);
  pair.second = pair.ids.size();
  pair.ids.insert(pair.ids.end(), two.begin(), two.end());
  pair.ids.push_back(sep_);
  return pair;
}

std::vector<int64_t> WordPiece::FirstIds(absl::string_view text, size_t ids_max) const {
  std::vector<int64_t> ids;
  ForEachWord(text, [&](absl::Span<const int64_t> word) {
    const size_t room = ids_max - ids.size();
    ids.insert(ids.end(), word.begin(), word.begin() + std::min(room, word.size()));
    return ids.size() < ids_max;
  });
  return ids;
}

size_t WordPiece::CountIds(absl::string_view text) const {
  size_t count = 0;
  ForEachWord(text, [&](absl::Span<const int64_t> word) {
    count += word.size();
    return true;
  });
  return count;
}

void WordPiece::ForEachWord(absl::string_view text, OnIds on_ids) const {
  size_t ordinary = 0;  // Where what is not yet encoded begins.
  for (size_t at = text.find('['); at != absl::string_view::npos;) {
    const auto special =
        std::find_if(specials_.begin(), specials_.end(), [text, at](const auto& candidate) {
          return text.compare(at, candidate.first.size(), candidate.first) == 0;
        });
    if (special == specials_.end()) {
      at = text.find('[', at + 1);
      continue;
    }
    if (!EncodeOrdinary(text.substr(ordinary, at - ordinary), on_ids)) return;
    if (!on_ids({special->second})) return;
    ordinary = at + special->first.size();
    at = text.find('[', ordinary);
  }
  EncodeOrdinary(text.substr(ordinary), on_ids);
}

bool WordPiece::EncodeOrdinary(absl::string_view text, OnIds on_ids) const {
  std::vector<int64_t> ids;  // Of one word.
  return SplitWords(text, options_.lowercase, [&](std::optional<std::string_view> word) {
    ids.clear();
    if (word.has_value()) {
      AppendPieces(*word, ids);
    } else {
      ids.push_back(unknown_);
    }
    return on_ids(ids);
  });
}

// The longest piece that fits, again and again; a word with a rest that fits none is unknown.
void WordPiece::AppendPieces(std::string_view word, std::vector<int64_t>& ids) const {
  const size_t ids_before = ids.size();
  for (size_t start = 0; start < word.size();) {
    const Pieces& pieces = start == 0 ? first_pieces_ : later_pieces_;
    size_t end = std::min(word.size(), start + piece_bytes_max_);
    auto found = pieces.end();
    for (; end > start; --end) {
      if (!StartsCharacter(word, end)) continue;
      found = pieces.find(word.substr(start, end - start));
      if (found != pieces.end()) break;
    }
    if (found == pieces.end()) {
      ids.resize(ids_before);
      ids.push_back(unknown_);
      return;
    }
    ids.push_back(found->second);
    start = end;
  }
}

}  // namespace torchd
