// The words of protobuf's text format. Only text_proto.cc includes it.
//
// Thread-safety: none. Ownership: borrows both texts.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace torchd {

struct TextToken {
  enum class Kind { kEnd, kIdentifier, kNumber, kString, kSymbol };

  Kind kind = Kind::kEnd;
  std::string text;  // Of a string, its bytes with escapes resolved; any bytes, not just UTF-8.
  int line = 1;
};

class TextProtoLexer {
 public:
  // `name` is what errors call the text. The first token is there after the first Advance().
  TextProtoLexer(absl::string_view name, absl::string_view text) : name_(name), text_(text) {}

  const TextToken& token() const { return token_; }

  // Goes on to the next token; at the end it stays there. INVALID_ARGUMENT for what is no token.
  absl::Status Advance();

 private:
  void SkipBlanksAndComments();
  absl::Status ReadNumber();
  absl::Status ReadDecimal();
  absl::Status ReadString();
  absl::Status ReadEscape();
  absl::Status ReadUnicodeEscape(size_t digits);

  char Peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }
  // Whether there was at least one.
  bool SkipWhile(bool (*belongs)(char c));
  // The value of at most `most` digits of that base, which is 8 or 16, and how many there were.
  struct Digits {
    unsigned value = 0;
    size_t count = 0;
  };
  Digits TakeDigits(unsigned base, size_t most);
  absl::Status Error(absl::string_view message) const;

  const absl::string_view name_;
  const absl::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  TextToken token_;
};

}  // namespace torchd
