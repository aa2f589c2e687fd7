#include "server/config/text_proto_lexer.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/config/text_proto.h"
#include "server/config/yaml_reader.h"

namespace torchd {
namespace {

unsigned Byte(char c) { return static_cast<unsigned char>(c); }

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsOctal(char c) { return c >= '0' && c <= '7'; }
bool IsHex(char c) { return absl::ascii_isxdigit(static_cast<unsigned char>(c)); }
bool IsNameStart(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool IsNamePart(char c) { return IsNameStart(c) || IsDigit(c); }
bool IsBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsLower(char c, char lower) { return c == lower || c == lower - 'a' + 'A'; }

bool IsSurrogate(unsigned code) { return code >= 0xD800 && code <= 0xDFFF; }

// Requires: `code` is at most 0x10FFFF and no surrogate.
void AppendUtf8(unsigned code, std::string& text) {
  const auto tail = [&](unsigned shift) {
    text += static_cast<char>(0x80U | ((code >> shift) & 0x3FU));
  };
  if (code < 0x80) {
    text += static_cast<char>(code);
  } else if (code < 0x800) {
    text += static_cast<char>(0xC0U | (code >> 6U));
    tail(0);
  } else if (code < 0x10000) {
    text += static_cast<char>(0xE0U | (code >> 12U));
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xF0U | (code >> 18U));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace

absl::Status TextProtoLexer::Error(absl::string_view message) const {
  return TextErrorAt(name_, line_, message);
}

bool TextProtoLexer::SkipWhile(bool (*belongs)(char c)) {
  const size_t begin = at_;
  while (at_ < text_.size() && belongs(text_[at_])) ++at_;
  return at_ > begin;
}

TextProtoLexer::Digits TextProtoLexer::TakeDigits(unsigned base, size_t most) {
  Digits taken;
  const auto belongs = base == 8 ? IsOctal : IsHex;
  for (; taken.count < most && belongs(Peek()); ++taken.count) {
    const char c = text_[at_++];
    taken.value = taken.value * base + (IsDigit(c) ? Byte(c) - '0' : (Byte(c) | 0x20U) - 'a' + 10);
  }
  return taken;
}

void TextProtoLexer::SkipBlanksAndComments() {
  for (; at_ < text_.size(); ++at_) {
    if (text_[at_] == '#') {
      while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      if (at_ == text_.size()) return;
    }
    if (!IsBlank(text_[at_])) return;
    if (text_[at_] == '\n') ++line_;
  }
}

absl::Status TextProtoLexer::Advance() {
  SkipBlanksAndComments();
  token_ = {TextToken::Kind::kEnd, "", line_};
  if (at_ == text_.size()) return absl::OkStatus();
  const char c = text_[at_];
  if (c == '"' || c == '\'') return ReadString();
  if (IsDigit(c) || (c == '.' && IsDigit(Peek(1)))) return ReadNumber();
  const size_t begin = at_;
  if (IsNameStart(c)) {
    SkipWhile(IsNamePart);
    token_.kind = TextToken::Kind::kIdentifier;
  } else if (absl::ascii_isgraph(static_cast<unsigned char>(c))) {
    ++at_;
    token_.kind = TextToken::Kind::kSymbol;
  } else {
    return Error(
        absl::StrCat("byte ", Byte(c), " outside of strings and comments, expected plain ASCII"));
  }
  token_.text = std::string(text_.substr(begin, at_ - begin));
  return absl::OkStatus();
}

absl::Status TextProtoLexer::ReadNumber() {
  const size_t begin = at_;
  if (Peek() == '0' && IsLower(Peek(1), 'x')) {
    at_ += 2;
    if (!SkipWhile(IsHex)) return Error("0x without digits, expected a hexadecimal number");
  } else if (Peek() == '0' && IsDigit(Peek(1))) {
    SkipWhile(IsOctal);
    if (IsDigit(Peek())) return Error("a leading 0 and a digit 8 or 9, expected an octal number");
  } else {
    TORCHD_RETURN_IF_ERROR(ReadDecimal());
  }
  const absl::string_view number = text_.substr(begin, at_ - begin);
  if (IsNamePart(Peek()) || Peek() == '.') {
    return Error(absl::StrCat("number ", number.substr(0, 40), " runs into ",
                              Quoted(text_.substr(at_, 1)), ", expected a blank after it"));
  }
  token_.kind = TextToken::Kind::kNumber;
  token_.text = std::string(number);
  return absl::OkStatus();
}

absl::Status TextProtoLexer::ReadDecimal() {
  SkipWhile(IsDigit);
  if (Peek() == '.') {
    ++at_;
    SkipWhile(IsDigit);
  }
  if (IsLower(Peek(), 'e')) {
    ++at_;
    if (Peek() == '+' || Peek() == '-') ++at_;
    if (!SkipWhile(IsDigit)) return Error("e without digits, expected an exponent");
  }
  if (IsLower(Peek(), 'f')) ++at_;
  return absl::OkStatus();
}

absl::Status TextProtoLexer::ReadString() {
  token_.kind = TextToken::Kind::kString;
  const char quote = text_[at_++];
  while (at_ < text_.size()) {
    const char c = text_[at_++];
    if (c == quote) return absl::OkStatus();
    if (c == '\n') return Error("a string crosses the end of its line, expected its closing quote");
    if (c == '\0') return Error("byte 0 in a string, expected \\0");
    if (c == '\\') {
      TORCHD_RETURN_IF_ERROR(ReadEscape());
    } else {
      token_.text += c;
    }
  }
  return Error("a string without an end, expected its closing quote");
}

absl::Status TextProtoLexer::ReadEscape() {
  constexpr absl::string_view kLetters = "abfnrtv\\?'\"";
  constexpr absl::string_view kMeanings = "\a\b\f\n\r\t\v\\?'\"";
  if (IsOctal(Peek())) {
    token_.text += static_cast<char>(TakeDigits(8, 3).value);  // Modulo 256, as protobuf does.
    return absl::OkStatus();
  }
  const char letter = Peek();
  if (at_ < text_.size()) ++at_;
  if (const size_t known = kLetters.find(letter); known != absl::string_view::npos) {
    token_.text += kMeanings[known];
    return absl::OkStatus();
  }
  if (letter == 'u') return ReadUnicodeEscape(4);
  if (letter == 'U') return ReadUnicodeEscape(8);
  const Digits byte = IsLower(letter, 'x') ? TakeDigits(16, 2) : Digits{};
  if (byte.count == 0) {
    return Error(absl::StrCat("escape \\", IsNamePart(letter) ? std::string(1, letter) : "",
                              " in a string, expected one of \\a \\b \\f \\n \\r \\t \\v \\\\ \\? "
                              "\\' \\\" \\ooo \\xhh \\uhhhh \\Uhhhhhhhh"));
  }
  token_.text += static_cast<char>(byte.value);
  return absl::OkStatus();
}

absl::Status TextProtoLexer::ReadUnicodeEscape(size_t digits) {
  Digits code = TakeDigits(16, digits);
  bool whole = code.count == digits;
  if (whole && digits == 4 && code.value >= 0xD800 && code.value <= 0xDBFF && Peek() == '\\' &&
      Peek(1) == 'u') {  // The first half of a pair of UTF-16.
    at_ += 2;
    const Digits low = TakeDigits(16, 4);
    whole = low.count == 4 && low.value >= 0xDC00 && low.value <= 0xDFFF;
    code.value = 0x10000 + ((code.value - 0xD800) << 10U) + ((low.value - 0xDC00) & 0x3FFU);
  }
  if (!whole || code.value > 0x10FFFF || IsSurrogate(code.value)) {
    return Error("escape \\u or \\U in a string, expected \\uhhhh or \\Uhhhhhhhh of a character");
  }
  AppendUtf8(code.value, token_.text);
  return absl::OkStatus();
}

}  // namespace torchd
