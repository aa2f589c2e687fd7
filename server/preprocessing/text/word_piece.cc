#include "server/preprocessing/text/word_piece.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

// Longer words are unknown as a whole; the original BERT's limit, in characters.
constexpr int kWordCharactersMax = 100;
constexpr absl::string_view kContinuation = "##";

// The Unicode of the tables inside Hugging Face's tokenizers.
constexpr int kCategoryUnicode = 8;
constexpr int kNormalizationUnicode = 9;

// What ICU knows of `c` and those tables do not.
bool IsNewerThan(int unicode, UChar32 c) {
  UVersionInfo age;
  u_charAge(c, age);
  return age[0] > unicode;
}

bool HasCategory(UChar32 c, uint32_t mask) {
  return (U_GET_GC_MASK(c) & mask) != 0 && !IsNewerThan(kCategoryUnicode, c);
}

bool IsRemoved(UChar32 c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return c == 0 || c == 0xFFFD ||
         HasCategory(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK | U_GC_CS_MASK);
}

bool IsPunctuation(UChar32 c) {
  if (c < 0x80) return c > ' ' && c < 0x7F && !u_isalnum(c);  // Symbols such as $ and + too.
  // These two were punctuation in Unicode 8.
  return c == 0x166D || c == 0x111C9 || HasCategory(c, U_GC_P_MASK);
}

bool IsAccent(UChar32 c) {
  // Unicode has since called 1734 a spacing mark, and the others non-spacing.
  if (c == 0x1734) return true;
  if (c == 0x1885 || c == 0x1886 || c == 0xA9BD || c == 0x111C9) return false;
  return HasCategory(c, U_GC_MN_MASK);
}

// The original's ranges; 2B920 is its slip for 2B820.
bool IsChinese(UChar32 c) {
  struct Range {
    UChar32 first;
    UChar32 last;
  };
  constexpr Range kRanges[] = {
      {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},   {0x20000, 0x2A6DF},
      {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF}, {0x2F800, 0x2FA1F},
  };
  if (c < kRanges[0].first) return false;
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [c](const Range& range) { return range.first <= c && c <= range.last; });
}

// Hugging Face's lower case is Unicode 17's, newer than Debian's ICU.
UChar32 Lower(UChar32 c) {
  struct Range {
    UChar32 first;
    UChar32 last;
    UChar32 lower_of_first;
  };
  constexpr Range kLettersSince16[] = {
      {0x1C89, 0x1C89, 0x1C8A},    {0xA7CB, 0xA7CB, 0x0264}, {0xA7CC, 0xA7CC, 0xA7CD},
      {0xA7CE, 0xA7CE, 0xA7CF},    {0xA7D2, 0xA7D2, 0xA7D3}, {0xA7D4, 0xA7D4, 0xA7D5},
      {0xA7DA, 0xA7DA, 0xA7DB},    {0xA7DC, 0xA7DC, 0x019B}, {0x10D50, 0x10D65, 0x10D70},
      {0x16EA0, 0x16EB8, 0x16EBB},
  };
  const UChar32 lower = u_tolower(c);
  if (lower != c) return lower;
  for (const Range& range : kLettersSince16) {
    if (range.first <= c && c <= range.last) return range.lower_of_first + (c - range.first);
  }
  return c;
}

void AppendUtf8(UChar32 c, std::string& text) {
  char bytes[U8_MAX_LENGTH];
  int32_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, c);
  text.append(bytes, static_cast<size_t>(length));
}

// Code points in, words out: BertNormalizer and BertPreTokenizer as one pass.
class WordSplitter {
 public:
  // An empty optional is a word beyond kWordCharactersMax.
  using OnWord = absl::FunctionRef<void(std::optional<std::string_view> word)>;

  WordSplitter(bool lowercase, OnWord on_word) : lowercase_(lowercase), on_word_(on_word) {}

  void Add(UChar32 c) {
    if (IsRemoved(c)) return;
    if (u_isUWhiteSpace(c)) {
      EndWord();
    } else if (IsChinese(c)) {
      EndWord();
      AddCleaned(c);
      EndWord();
    } else {
      AddCleaned(c);
    }
  }

  void EndWord() {
    FlushMarks();
    Emit();
  }

 private:
  struct Mark {
    UChar32 c;
    uint8_t order;
  };

  void AddCleaned(UChar32 c) {
    if (!lowercase_ || c < 0x80) {
      FlushMarks();
      AddNormalized(c);
      return;
    }
    icu::UnicodeString decomposed;
    if (IsNewerThan(kNormalizationUnicode, c) || !normalizer_->getDecomposition(c, decomposed)) {
      AddDecomposed(c);
      return;
    }
    for (int32_t i = 0; i < decomposed.length(); i = decomposed.moveIndex32(i, 1)) {
      AddDecomposed(decomposed.char32At(i));
    }
  }

  // Puts marks in canonical order, but only those that stay: ICU's own ordering moves one mark at
  // a time, which takes quadratic time on a client's long run of them.
  void AddDecomposed(UChar32 c) {
    const uint8_t order =
        IsNewerThan(kNormalizationUnicode, c) ? 0 : normalizer_->getCombiningClass(c);
    if (order == 0) FlushMarks();
    if (IsAccent(c)) return;
    if (order == 0) {
      AddNormalized(c);
    } else {
      marks_.push_back({c, order});
    }
  }

  void FlushMarks() {
    if (marks_.empty()) return;
    std::stable_sort(marks_.begin(), marks_.end(),
                     [](const Mark& a, const Mark& b) { return a.order < b.order; });
    for (const Mark& mark : marks_) AddNormalized(mark.c);
    marks_.clear();
  }

  void AddNormalized(UChar32 c) {
    if (lowercase_) c = Lower(c);
    const bool alone = IsPunctuation(c);
    if (alone) Emit();
    if (++characters_ <= kWordCharactersMax) AppendUtf8(c, word_);
    if (alone) Emit();
  }

  void Emit() {
    if (characters_ > kWordCharactersMax) {
      on_word_(std::nullopt);
    } else if (characters_ > 0) {
      on_word_(word_);
    }
    word_.clear();
    characters_ = 0;
  }

  static const icu::Normalizer2* Nfd() {
    UErrorCode error = U_ZERO_ERROR;  // The data is compiled into ICU: this cannot fail.
    return icu::Normalizer2::getNFDInstance(error);
  }

  const bool lowercase_;
  const OnWord on_word_;
  const icu::Normalizer2* const normalizer_ = Nfd();  // ICU's own, never freed.
  std::vector<Mark> marks_;                           // Since the last character that is no mark.
  std::string word_;
  int64_t characters_ = 0;  // Of the word, those beyond the limit too.
};

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
  TORCHD_ASSIGN_OR_RETURN(std::vector<int64_t> ids,
                          WithoutFrame(text, static_cast<size_t>(options_.tokens_max) - 2));
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
  // One more than there is room for tells as much as all of them.
  TORCHD_ASSIGN_OR_RETURN(std::vector<int64_t> one, WithoutFrame(first, room + 1));
  TORCHD_ASSIGN_OR_RETURN(std::vector<int64_t> two, WithoutFrame(second, room + 1));
  if (one.size() + two.size() > room) {
    std::vector<int64_t>& longer = one.size() > two.size() ? one : two;
    std::vector<int64_t>& shorter = one.size() > two.size() ? two : one;
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

absl::StatusOr<std::vector<int64_t>> WordPiece::WithoutFrame(absl::string_view text,
                                                             size_t ids_max) const {
  if (const std::optional<size_t> invalid = FirstInvalid(text); invalid.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("text of ", text.size(), " bytes is not UTF-8 ",
                                                   "at byte ", *invalid, "; expected UTF-8"));
  }
  std::vector<int64_t> ids;
  size_t ordinary = 0;  // Where what is not yet encoded begins.
  for (size_t at = text.find('['); at != absl::string_view::npos && ids.size() < ids_max;) {
    const auto special =
        std::find_if(specials_.begin(), specials_.end(), [text, at](const auto& candidate) {
          return text.compare(at, candidate.first.size(), candidate.first) == 0;
        });
    if (special == specials_.end()) {
      at = text.find('[', at + 1);
      continue;
    }
    EncodeOrdinary(text.substr(ordinary, at - ordinary), ids_max, ids);
    ids.push_back(special->second);
    ordinary = at + special->first.size();
    at = text.find('[', ordinary);
  }
  EncodeOrdinary(text.substr(ordinary), ids_max, ids);
  if (ids.size() > ids_max) ids.resize(ids_max);
  return ids;
}

// Stops soon after `ids_max`.
void WordPiece::EncodeOrdinary(absl::string_view text, size_t ids_max,
                               std::vector<int64_t>& ids) const {
  const auto append = [this, &ids](std::optional<std::string_view> word) {
    if (word.has_value()) {
      AppendPieces(*word, ids);
    } else {
      ids.push_back(unknown_);
    }
  };
  WordSplitter splitter(options_.lowercase, append);
  for (size_t next = 0; next < text.size() && ids.size() < ids_max;) {
    UChar32 c = 0;
    U8_NEXT_UNSAFE(text.data(), next, c);
    splitter.Add(c);
  }
  splitter.EndWord();
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
