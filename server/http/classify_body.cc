#include "server/http/classify_body.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/base/status_macros.h"
#include "server/base/utf8.h"
#include "server/classify/input_facts.h"
#include "server/http/form_body.h"
#include "server/http/json_body.h"

namespace torchd {
namespace {

constexpr size_t kShownMax = 64;
constexpr std::array<const char*, 7> kOptions = {
    "top_k", "softmax", "activation", "threshold", "priority", "timeout_ms", "version_label"};
constexpr char kPair[] = "text_pair";
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

absl::StatusOr<Activation> ActivationOf(ValueKind kind, absl::string_view value) {
  const std::optional<Activation> found = ActivationByName(value);
  if (IsWord(kind) && found) return *found;
  return Wrong("activation", value, "one of none, softmax, sigmoid");
}

absl::StatusOr<float> Threshold(ValueKind kind, absl::string_view value) {
  const bool written =
      kind == ValueKind::kInteger || kind == ValueKind::kNumber || kind == ValueKind::kText;
  float number = 0;
  if (written && absl::SimpleAtof(value, &number) && std::isfinite(number)) return number;
  return Wrong("threshold", value, "a finite number");
}

template <typename T>
absl::Status Set(absl::string_view name, const absl::StatusOr<T>& value, std::optional<T>& option) {
  TORCHD_RETURN_IF_ERROR(value.status());
  if (option) return absl::InvalidArgumentError(absl::StrCat(name, " is given twice"));
  option = *value;
  return absl::OkStatus();
}

enum class BodyKind { kImage, kText, kJson, kForm };

// What says nothing is UTF-8; ASCII always is.
absl::Status CheckCharset(absl::string_view content_type) {
  const absl::string_view charset = ParameterOf(content_type, "charset").value_or("utf-8");
  for (const char* const known : {"utf-8", "utf8", "us-ascii", "ascii"}) {
    if (absl::EqualsIgnoreCase(charset, known)) return absl::OkStatus();
  }
  return Wrong("charset of Content-Type", charset, "utf-8");
}

absl::StatusOr<BodyKind> KindOf(absl::string_view content_type) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(content_type, absl::MaxSplits(';', 1));
  const std::string type = absl::AsciiStrToLower(absl::StripAsciiWhitespace(parts.first));
  if (absl::StartsWith(type, "image/") || type == "application/octet-stream") {
    return BodyKind::kImage;
  }
  if (type == "multipart/form-data") return BodyKind::kForm;
  if (type == "text/plain" || type == "application/json") {
    TORCHD_RETURN_IF_ERROR(CheckCharset(content_type));
    return type == "text/plain" ? BodyKind::kText : BodyKind::kJson;
  }
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
  return std::find(kOptions.begin(), kOptions.end(), name) != kOptions.end();
}

std::string OptionNames() { return absl::StrJoin(kOptions, ", "); }

absl::Status SetOption(absl::string_view name, ValueKind kind, absl::string_view value,
                       ClassifyOptions& options) {
  if (name == "top_k") {
    return Set(name, Integer(name, kind, value, 1, kTopKMax), options.top_k);
  }
  if (name == "softmax") return Set(name, Boolean(name, kind, value), options.softmax);
  if (name == "activation") return Set(name, ActivationOf(kind, value), options.activation);
  if (name == "threshold") return Set(name, Threshold(kind, value), options.threshold);
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
      absl::StrCat(QuotedWord(name), " is no option; expected one of ", OptionNames()));
}

absl::string_view ClassifyBody::Own(std::string bytes) {
  owned_bytes += static_cast<int64_t>(bytes.size());
  const std::string& kept = owned.emplace_back(std::move(bytes));
  return {kept.data(), kept.size()};
}

ClassifyItem TextOrStatus(absl::string_view text, std::optional<absl::string_view> pair) {
  const size_t bytes = text.size() + pair.value_or("").size();
  if (bytes > static_cast<size_t>(kTextBytesMax)) {
    return absl::InvalidArgumentError(absl::StrCat(pair ? "text and text_pair" : "text", ": got ",
                                                   bytes, " bytes, at most ", kTextBytesMax));
  }
  if (!IsUtf8(text)) return absl::InvalidArgumentError("text: it is no UTF-8");
  if (!IsUtf8(pair.value_or(""))) return absl::InvalidArgumentError("text_pair: it is no UTF-8");
  return TextItem{text, pair};
}

absl::Status CheckContentType(absl::string_view content_type) {
  return KindOf(content_type).status();
}

absl::StatusOr<ClassifyBody> ReadClassifyBody(
    absl::string_view content_type, absl::string_view body,
    const std::vector<std::pair<std::string, std::string>>& query, const BodyLimits& limits) {
  TORCHD_ASSIGN_OR_RETURN(const BodyKind kind, KindOf(content_type));
  ClassifyBody result;
  std::optional<absl::string_view> pair;
  for (const auto& [name, value] : query) {
    if (name == kPair) {
      TORCHD_RETURN_IF_ERROR(Set(name, absl::StatusOr<absl::string_view>(result.Own(value)), pair));
      continue;
    }
    TORCHD_RETURN_IF_ERROR(SetOption(name, ValueKind::kText, value, result.options));
  }
  if (pair && kind != BodyKind::kText) {
    return absl::InvalidArgumentError(
        "text_pair: in the query it belongs to a body of text/plain; expected it beside its text");
  }
  switch (kind) {
    case BodyKind::kImage:
      result.items.emplace_back(ImageItem{body});
      break;
    case BodyKind::kText:
      result.items.push_back(TextOrStatus(body, pair));
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
