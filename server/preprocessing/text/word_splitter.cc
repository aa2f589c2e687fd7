#include "server/preprocessing/text/word_splitter.h"

#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace torchd {
namespace {

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

class WordSplitter {
 public:
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

  bool wanted() const { return wanted_; }

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
      wanted_ = wanted_ && on_word_(std::nullopt);
    } else if (characters_ > 0) {
      wanted_ = wanted_ && on_word_(word_);
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
  bool wanted_ = true;
  const icu::Normalizer2* const normalizer_ = Nfd();  // ICU's own, never freed.
  std::vector<Mark> marks_;                           // Since the last character that is no mark.
  std::string word_;
  int64_t characters_ = 0;  // Of the word, those beyond the limit too.
};

}  // namespace

bool SplitWords(absl::string_view text, bool lowercase, OnWord on_word) {
  WordSplitter splitter(lowercase, on_word);
  for (size_t next = 0; next < text.size() && splitter.wanted();) {
    UChar32 c = 0;
    U8_NEXT_UNSAFE(text.data(), next, c);
    splitter.Add(c);
  }
  splitter.EndWord();
  return splitter.wanted();
}

}  // namespace torchd
