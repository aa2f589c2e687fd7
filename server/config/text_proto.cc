#include "server/config/text_proto.h"

#include <charconv>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/base/status_macros.h"
#include "server/base/utf8.h"
#include "server/config/text_proto_lexer.h"
#include "server/config/yaml_reader.h"

namespace torchd {
namespace {

using Kind = TextToken::Kind;

class Parser {
 public:
  Parser(absl::string_view name, absl::string_view text) : name_(name), lexer_(name, text) {}

  absl::StatusOr<TextField> ParseRoot() {
    TextField root;
    TORCHD_RETURN_IF_ERROR(lexer_.Advance());
    while (token().kind != Kind::kEnd) TORCHD_RETURN_IF_ERROR(ReadField(root.fields));
    return root;
  }

 private:
  const TextToken& token() const { return lexer_.token(); }
  bool At(absl::string_view symbol) const {
    return token().kind == Kind::kSymbol && token().text == symbol;
  }
  // Whether `symbol` stood here; then it is behind us.
  absl::StatusOr<bool> Take(absl::string_view symbol) {
    if (!At(symbol)) return false;
    TORCHD_RETURN_IF_ERROR(lexer_.Advance());
    return true;
  }

  absl::Status Expected(absl::string_view what) const {
    const std::string found = token().kind == Kind::kEnd ? "the end" : Quoted(token().text);
    return TextErrorAt(name_, token().line, absl::StrCat("found ", found, ", expected ", what));
  }

  absl::Status ReadField(std::vector<TextField>& fields);
  absl::StatusOr<std::string> ReadName();
  absl::StatusOr<std::string> ReadExtensionName();
  absl::Status ReadList(const std::string& name, bool messages_only,
                        std::vector<TextField>& fields);
  absl::Status ReadValue(const std::string& name, int line, bool messages_only,
                         std::vector<TextField>& fields);
  absl::Status ReadMessage(TextField& field);
  absl::Status ReadString(TextField& field);
  absl::Status ReadNegative(TextField& field);

  const absl::string_view name_;
  TextProtoLexer lexer_;
  int fields_ = 0;
  int depth_ = 0;
};

absl::Status Parser::ReadField(std::vector<TextField>& fields) {
  const int line = token().line;
  TORCHD_ASSIGN_OR_RETURN(const std::string name, ReadName());
  // Every element of a list copies the name, so a long one would cost far more than its text.
  if (name.size() > kTextProtoNameBytesMax) {
    return TextErrorAt(name_, line,
                       absl::StrCat("the name of a field has ", name.size(),
                                    " bytes, expected at most ", kTextProtoNameBytesMax));
  }
  TORCHD_ASSIGN_OR_RETURN(const bool colon, Take(":"));
  // Without a colon only messages may follow; that is how TextFormat finds a forgotten one.
  if (At("[")) {
    TORCHD_RETURN_IF_ERROR(ReadList(name, !colon, fields));
  } else {
    TORCHD_RETURN_IF_ERROR(ReadValue(name, line, !colon, fields));
  }
  if (At(",") || At(";")) return lexer_.Advance();
  return absl::OkStatus();
}

absl::StatusOr<std::string> Parser::ReadName() {
  if (At("[")) return ReadExtensionName();
  if (token().kind != Kind::kIdentifier) return Expected("the name of a field");
  std::string name = token().text;
  TORCHD_RETURN_IF_ERROR(lexer_.Advance());
  return name;
}

absl::StatusOr<std::string> Parser::ReadExtensionName() {
  std::string name = "[";
  do {
    if (name.size() > 1) name += token().text;
    TORCHD_RETURN_IF_ERROR(lexer_.Advance());
    if (token().kind != Kind::kIdentifier) return Expected("the name of an extension");
    name += token().text;
    TORCHD_RETURN_IF_ERROR(lexer_.Advance());
  } while (At(".") || At("/"));
  if (!At("]")) return Expected("] after the name of an extension");
  TORCHD_RETURN_IF_ERROR(lexer_.Advance());
  return name + "]";
}

absl::Status Parser::ReadList(const std::string& name, bool messages_only,
                              std::vector<TextField>& fields) {
  TORCHD_RETURN_IF_ERROR(lexer_.Advance());
  TORCHD_ASSIGN_OR_RETURN(bool closed, Take("]"));
  while (!closed) {
    TORCHD_RETURN_IF_ERROR(ReadValue(name, token().line, messages_only, fields));
    if (!At(",") && !At("]")) return Expected(", or ] in the list");
    closed = At("]");
    TORCHD_RETURN_IF_ERROR(lexer_.Advance());
  }
  return absl::OkStatus();
}

absl::Status Parser::ReadValue(const std::string& name, int line, bool messages_only,
                               std::vector<TextField>& fields) {
  if (++fields_ > kTextProtoFieldsMax) {
    return TextErrorAt(name_, line,
                       absl::StrCat("one field more than the ", kTextProtoFieldsMax, " allowed"));
  }
  TextField& field = fields.emplace_back();
  field.name = name;
  field.line = line;
  if (At("{") || At("<")) return ReadMessage(field);
  if (messages_only) return Expected(absl::StrCat(": or { after ", Quoted(name)));
  if (At("-")) return ReadNegative(field);
  switch (token().kind) {
    case Kind::kString:
      return ReadString(field);
    case Kind::kNumber:
      field.kind = TextField::Kind::kNumber;
      break;
    case Kind::kIdentifier:
      field.kind = TextField::Kind::kIdentifier;
      break;
    case Kind::kEnd:
    case Kind::kSymbol:
      return Expected(absl::StrCat("a value of ", Quoted(name)));
  }
  field.text = token().text;
  return lexer_.Advance();
}

absl::Status Parser::ReadMessage(TextField& field) {
  const int opened = token().line;
  const absl::string_view closing = At("{") ? "}" : ">";
  if (++depth_ > kTextProtoDepthMax) {
    return TextErrorAt(name_, opened,
                       absl::StrCat("nested deeper than ", kTextProtoDepthMax, " levels"));
  }
  TORCHD_RETURN_IF_ERROR(lexer_.Advance());
  while (!At(closing)) {
    // The other brace and the end are no name either, but this says which message they miss.
    if (At("}") || At(">") || token().kind == Kind::kEnd) {
      return Expected(
          absl::StrCat(closing, " of ", Quoted(field.name), ", opened in line ", opened));
    }
    TORCHD_RETURN_IF_ERROR(ReadField(field.fields));
  }
  --depth_;
  return lexer_.Advance();
}

absl::Status Parser::ReadString(TextField& field) {
  field.kind = TextField::Kind::kString;
  const int line = token().line;
  while (token().kind == Kind::kString) {
    field.text += token().text;
    TORCHD_RETURN_IF_ERROR(lexer_.Advance());
  }
  if (IsUtf8(field.text)) return absl::OkStatus();
  return TextErrorAt(name_, line,
                     absl::StrCat("the string of ", Quoted(field.name), " is not UTF-8"));
}

absl::Status Parser::ReadNegative(TextField& field) {
  TORCHD_RETURN_IF_ERROR(lexer_.Advance());
  const std::string word = absl::AsciiStrToLower(token().text);
  const bool special =
      token().kind == Kind::kIdentifier && (word == "inf" || word == "infinity" || word == "nan");
  if (token().kind != Kind::kNumber && !special) return Expected("a number after -");
  field.kind = TextField::Kind::kNumber;
  field.text = "-" + token().text;
  return lexer_.Advance();
}

}  // namespace

absl::StatusOr<TextField> ParseTextProto(absl::string_view name, absl::string_view text) {
  if (text.size() > kTextProtoBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has ", text.size(), " bytes, expected at most ", kTextProtoBytesMax));
  }
  return Parser(name, text).ParseRoot();
}

absl::Status TextErrorAt(absl::string_view name, int line, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(name, ":", line, ": ", message));
}

std::optional<int64_t> IntegerOf(const TextField& field) {
  if (field.kind != TextField::Kind::kNumber) return std::nullopt;
  absl::string_view digits = field.text;
  const bool negative = absl::ConsumePrefix(&digits, "-");
  int base = 10;
  if (absl::ConsumePrefix(&digits, "0x") || absl::ConsumePrefix(&digits, "0X")) {
    base = 16;
  } else if (digits.size() > 1 && digits.front() == '0') {
    base = 8;
  }
  // With its sign in front, the least int64 fits, too.
  const std::string signed_digits = absl::StrCat(negative ? "-" : "", digits);
  int64_t value = 0;
  const char* end = signed_digits.data() + signed_digits.size();
  const auto [stopped, error] = std::from_chars(signed_digits.data(), end, value, base);
  if (error != std::errc() || stopped != end) return std::nullopt;
  return value;
}

std::optional<bool> BoolOf(const TextField& field) {
  if (const auto number = IntegerOf(field); number == 0 || number == 1) return number == 1;
  if (field.kind != TextField::Kind::kIdentifier) return std::nullopt;
  if (field.text == "true" || field.text == "True" || field.text == "t") return true;
  if (field.text == "false" || field.text == "False" || field.text == "f") return false;
  return std::nullopt;
}

std::string Describe(const TextField& field) {
  switch (field.kind) {
    case TextField::Kind::kString:
      return Quoted(field.text);
    case TextField::Kind::kMessage:
      return "a message";
    case TextField::Kind::kNumber:
    case TextField::Kind::kIdentifier:
      break;
  }
  return field.text.substr(0, 100);  // ASCII, as the lexer gives no other.
}

}  // namespace torchd
