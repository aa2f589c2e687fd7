#include "server/http/classify_body.h"

#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/status_macros.h"
#include "server/base/utf8.h"
#include "server/http/form_body.h"
#include "server/http/json_body.h"

namespace torchd {
namespace {

constexpr size_t kShownMax = 64;
constexpr char kTypes[] =
    "image/*, application/octet-stream, text/plain, application/json, multipart/form-data";

absl::Status Wrong(absl::string_view name, absl::string_view got, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": got ", QuotedWord(got), ", expected ", expected));
}

absl::StatusOr<int64_t> Integer(absl::string_view name, ValueKind kind, absl::string_view value,
                                int64_t least, int64_t most) {
  int64_t number = 0;
  const bool written = kind == ValueKind::kInteger || kind == ValueKind::kText;
  if (!written || !absl::SimpleAtoi(value, &number) || number < least || number > most) {
    return Wrong(name, value, absl::StrCat("an integer of ", least, " to ", most));
  }
  return number;
}

absl::StatusOr<bool> Boolean(absl::string_view name, ValueKind kind, absl::string_view value) {
  const bool written = kind == ValueKind::kBoolean || kind == ValueKind::kText;
  if (written && value == "true") return true;
  if (written && value == "false") return false;
  return Wrong(name, value, "true or false");
}

bool IsWord(ValueKind kind) { return kind == ValueKind::kString || kind == ValueKind::kText; }

absl::StatusOr<Priority> PriorityOf(ValueKind kind, absl::string_view value) {
  if (IsWord(kind) && value == "high") return Priority::kHigh;
  if (IsWord(kind) && value == "normal") return Priority::kNormal;
  if (IsWord(kind) && value == "low") return Priority::kLow;
  return Wrong("priority", value, "one of high, normal, low");
}

template <typename T>
absl::Status Set(absl::string_view name, const absl::StatusOr<T>& value, std::optional<T>& option) {
  TORCHD_RETURN_IF_ERROR(value.status());
  if (option) return absl::InvalidArgumentError(absl::StrCat(name, " is given twice"));
  option = *value;
  return absl::OkStatus();
}

enum class BodyKind { kImage, kText, kJson, kForm };

absl::StatusOr<BodyKind> KindOf(absl::string_view content_type) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(content_type, absl::MaxSplits(';', 1));
  const std::string type = absl::AsciiStrToLower(absl::StripAsciiWhitespace(parts.first));
  if (absl::StartsWith(type, "image/") || type == "application/octet-stream") {
    return BodyKind::kImage;
  }
  if (type == "text/plain") return BodyKind::kText;
  if (type == "application/json") return BodyKind::kJson;
  if (type == "multipart/form-data") return BodyKind::kForm;
  return Wrong("Content-Type", type, absl::StrCat("one of ", kTypes));
}

}  // namespace

std::string QuotedWord(absl::string_view word) {
  std::string shown = "'";
  for (const char c : word.substr(0, kShownMax)) {
    shown += absl::ascii_isprint(static_cast<unsigned char>(c)) ? c : '?';
  }
  return shown + (word.size() > kShownMax ? "...'" : "'");
}

bool IsOption(absl::string_view name) {
  return name == "top_k" || name == "softmax" || name == "priority" || name == "timeout_ms" ||
         name == "version_label";
}

absl::Status SetOption(absl::string_view name, ValueKind kind, absl::string_view value,
                       ClassifyOptions& options) {
  if (name == "top_k") {
    return Set(name, Integer(name, kind, value, 1, kTopKMax), options.top_k);
  }
  if (name == "softmax") return Set(name, Boolean(name, kind, value), options.softmax);
  if (name == "priority") return Set(name, PriorityOf(kind, value), options.priority);
  if (name == "timeout_ms") {
    constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
    return Set(name, Integer(name, kind, value, 0, kMost), options.timeout_ms);
  }
  if (name == "version_label") {
    if (!IsWord(kind)) return Wrong(name, value, "a string");
    return Set(name, absl::StatusOr<std::string>(value), options.version_label);
  }
  return absl::InvalidArgumentError(
      absl::StrCat(QuotedWord(name),
                   " is no option; expected one of top_k, softmax, priority, "
                   "timeout_ms, version_label"));
}

absl::string_view ClassifyBody::Own(std::string bytes) {
  owned_bytes += static_cast<int64_t>(bytes.size());
  const std::string& kept = owned.emplace_back(std::move(bytes));
  return {kept.data(), kept.size()};
}

ClassifyItem TextOrStatus(absl::string_view text) {
  if (text.size() > static_cast<size_t>(kTextBytesMax)) {
    return absl::InvalidArgumentError(
        absl::StrCat("text: got ", text.size(), " bytes, at most ", kTextBytesMax));
  }
  if (!IsUtf8(text)) return absl::InvalidArgumentError("text: it is no UTF-8");
  return TextItem{text};
}

absl::Status CheckContentType(absl::string_view content_type) {
  return KindOf(content_type).status();
}

absl::StatusOr<ClassifyBody> ReadClassifyBody(
    absl::string_view content_type, absl::string_view body,
    const std::vector<std::pair<std::string, std::string>>& query, const BodyLimits& limits) {
  TORCHD_ASSIGN_OR_RETURN(const BodyKind kind, KindOf(content_type));
  ClassifyBody result;
  for (const auto& [name, value] : query) {
    TORCHD_RETURN_IF_ERROR(SetOption(name, ValueKind::kText, value, result.options));
  }
  switch (kind) {
    case BodyKind::kImage:
      result.items.emplace_back(ImageItem{body});
      break;
    case BodyKind::kText:
      result.items.push_back(TextOrStatus(body));
      break;
    case BodyKind::kJson:
      TORCHD_RETURN_IF_ERROR(ReadJsonBody(body, limits, result));
      break;
    case BodyKind::kForm:
      TORCHD_RETURN_IF_ERROR(ReadFormBody(content_type, body, result));
      break;
  }
  return result;
}

}  // namespace torchd
