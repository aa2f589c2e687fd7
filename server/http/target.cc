#include "server/http/target.h"

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

constexpr size_t kShownMax = 64;

int HexValue(char c) {
  if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return -1;
  return absl::ascii_isdigit(static_cast<unsigned char>(c)) ? c - '0'
                                                            : absl::ascii_tolower(c) - 'a' + 10;
}

// `plus_is_space`: as forms and most libraries write a query.
absl::StatusOr<std::string> Decode(absl::string_view text, bool plus_is_space) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = plus_is_space && text[i] == '+' ? ' ' : text[i];
    if (c == '%') {
      const int high = i + 2 < text.size() ? HexValue(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? HexValue(text[i + 2]) : -1;
      if (high < 0 || low < 0) {
        return absl::InvalidArgumentError(
            absl::StrCat("target: got '", absl::CHexEscape(text.substr(i, 3)),
                         "', expected two hexadecimal digits after a percent sign"));
      }
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (c == '\0') return absl::InvalidArgumentError("target: it holds a byte 0");
    decoded += c;
  }
  return decoded;
}

}  // namespace

absl::StatusOr<Target> ParseTarget(absl::string_view target) {
  if (target.empty() || target[0] != '/') {
    return absl::InvalidArgumentError(absl::StrCat("target: got '",
                                                   absl::CHexEscape(target.substr(0, kShownMax)),
                                                   "', expected a path that begins with /"));
  }
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(target, absl::MaxSplits('?', 1));
  Target result;
  TORCHD_ASSIGN_OR_RETURN(result.path, Decode(parts.first, false));
  for (const absl::string_view one : absl::StrSplit(parts.second, '&', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> option =
        absl::StrSplit(one, absl::MaxSplits('=', 1));
    TORCHD_ASSIGN_OR_RETURN(std::string name, Decode(option.first, true));
    TORCHD_ASSIGN_OR_RETURN(std::string value, Decode(option.second, true));
    result.query.emplace_back(std::move(name), std::move(value));
  }
  return result;
}

absl::StatusOr<std::optional<RestRoute>> ParseRoute(absl::string_view path) {
  if (!absl::ConsumePrefix(&path, "/v1/models")) return std::nullopt;
  RestRoute route;
  if (path.empty()) return route;
  if (!absl::ConsumePrefix(&path, "/")) return std::nullopt;
  route.kind = RestRoute::Kind::kModel;
  const bool classify = absl::ConsumeSuffix(&path, ":classify");
  // Neither a model's name nor a version has a colon.
  const size_t colon = path.rfind(':');
  if (!classify && colon != absl::string_view::npos) {
    return absl::NotFoundError(
        absl::StrCat("no verb '", absl::CHexEscape(path.substr(colon + 1, kShownMax)),
                     "', expected classify, as in POST /v1/models/NAME:classify"));
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  const bool versioned = parts.size() == 3 && parts[1] == "versions";
  if (parts[0].empty() || (parts.size() > 1 && !versioned)) return std::nullopt;
  route.model = std::string(parts[0]);
  if (versioned) {
    route.kind = RestRoute::Kind::kVersion;
    if (!absl::SimpleAtoi(parts[2], &route.version) || route.version < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("version: got '", absl::CHexEscape(parts[2].substr(0, kShownMax)),
                       "', expected a number of 1 or above"));
    }
  }
  if (classify) route.kind = RestRoute::Kind::kClassify;
  return route;
}

}  // namespace torchd
