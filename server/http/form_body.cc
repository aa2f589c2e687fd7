#include "server/http/form_body.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/base/status_macros.h"

namespace torchd {
namespace {

constexpr size_t kBoundaryMax = 70;  // RFC 2046.
constexpr size_t kPartHeaderMax = 8192;
constexpr size_t kPartsMax = 2 * kItemsMax + 16;  // Texts with a second one each, and options.

absl::Status NoForm(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("the body is no multipart/form-data: ", why));
}

// The name of a part, from its header.
absl::StatusOr<absl::string_view> NameIn(absl::string_view header) {
  for (const absl::string_view line : absl::StrSplit(header, "\r\n")) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(line, absl::MaxSplits(':', 1));
    if (!absl::EqualsIgnoreCase(field.first, "content-disposition")) continue;
    const auto name = ParameterOf(field.second, "name");
    if (name) return *name;
  }
  return NoForm("a part has no name");
}

// To the text that is the last item so far.
absl::Status AddPair(absl::string_view pair, ClassifyBody& result) {
  if (!result.items.empty()) {
    ClassifyItem& last = result.items.back();
    // Of a text that is wrong itself that is the answer.
    if (std::holds_alternative<absl::Status>(last)) return absl::OkStatus();
    const auto* const text = std::get_if<TextItem>(&last);
    if (text != nullptr && !text->pair) {
      last = TextOrStatus(text->text, pair);
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError("text_pair: expected after the part text that it belongs to");
}

}  // namespace

std::optional<absl::string_view> ParameterOf(absl::string_view header, absl::string_view key) {
  for (absl::string_view one : absl::StrSplit(header, ';')) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(one, absl::MaxSplits('=', 1));
    if (!absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(pair.first), key)) continue;
    absl::string_view value = absl::StripAsciiWhitespace(pair.second);
    if (absl::ConsumePrefix(&value, "\"") && !absl::ConsumeSuffix(&value, "\"")) {
      return std::nullopt;
    }
    return value;
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<FormPart>> ReadForm(absl::string_view content_type,
                                               absl::string_view body) {
  const auto boundary = ParameterOf(content_type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > kBoundaryMax) {
    return NoForm("Content-Type has no boundary of 1 to 70 characters");
  }
  const std::string between = absl::StrCat("\r\n--", *boundary);
  std::vector<FormPart> parts;
  if (!absl::ConsumePrefix(&body, absl::string_view(between).substr(2))) {
    const size_t preamble = body.find(between);  // Nobody reads what stands there.
    if (preamble == absl::string_view::npos) return NoForm("its boundary does not begin a line");
    body.remove_prefix(preamble + between.size());
  }
  while (!absl::StartsWith(body, "--")) {
    body.remove_prefix(std::min(body.find_first_not_of(" \t"), body.size()));
    if (!absl::ConsumePrefix(&body, "\r\n")) return NoForm("a boundary does not end its line");
    if (parts.size() == kPartsMax) {
      return NoForm(absl::StrCat("it has more than ", kPartsMax, " parts"));
    }
    const size_t header_end = body.substr(0, kPartHeaderMax).find("\r\n\r\n");
    if (header_end == absl::string_view::npos) return NoForm("a part's header has no end");
    TORCHD_ASSIGN_OR_RETURN(const absl::string_view name, NameIn(body.substr(0, header_end)));
    body.remove_prefix(header_end + 4);
    const size_t end = body.find(between);
    if (end == absl::string_view::npos) return NoForm("a part has no end");
    parts.push_back({name, body.substr(0, end)});
    body.remove_prefix(end + between.size());
  }
  return parts;
}

absl::Status ReadFormBody(absl::string_view content_type, absl::string_view body,
                          ClassifyBody& result) {
  TORCHD_ASSIGN_OR_RETURN(const std::vector<FormPart> parts, ReadForm(content_type, body));
  for (const FormPart& part : parts) {
    if (part.name == "image") {
      result.items.emplace_back(ImageItem{part.content});
    } else if (part.name == "text") {
      result.items.push_back(TextOrStatus(part.content));
    } else if (part.name == "text_pair") {
      TORCHD_RETURN_IF_ERROR(AddPair(part.content, result));
    } else if (IsOption(part.name)) {
      TORCHD_RETURN_IF_ERROR(SetOption(part.name, ValueKind::kText, part.content, result.options));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("the form has a part ", QuotedWord(part.name),
                       "; expected image, text, text_pair, or one of the options ", OptionNames()));
    }
  }
  return absl::OkStatus();
}

}  // namespace torchd
