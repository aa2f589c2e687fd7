// What the body and the options of a REST call ask to be classified, in our own types. The bytes
// may be an image or a text as it is, JSON (json_body.h) or a form (form_body.h).
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/classify/classify.h"

namespace torchd {

struct ClassifyOptions {
  std::optional<int64_t> top_k;
  std::optional<bool> softmax;
  std::optional<Activation> activation;
  std::optional<float> threshold;
  std::optional<Priority> priority;
  std::optional<int64_t> timeout_ms;
  std::optional<std::string> version_label;
};

// What a JSON value is, or what a text of the query stands for.
enum class ValueKind { kBoolean, kInteger, kNumber, kString, kNull, kText };

// Sets the option `name` from the value's text. INVALID_ARGUMENT when there is no such option, when
// it has been set already, or when the value is none of its kind (kText may stand for any).
absl::Status SetOption(absl::string_view name, ValueKind kind, absl::string_view value,
                       ClassifyOptions& options);
bool IsOption(absl::string_view name);

// "top_k, softmax, ...": all of them.
std::string OptionNames();

// The items borrow from the body they were read from, and from `owned`, which moves with them.
struct ClassifyBody {
  std::vector<ClassifyItem> items;
  ClassifyOptions options;
  std::deque<std::string> owned;
  int64_t owned_bytes = 0;  // Of `owned`, together.

  absl::string_view Own(std::string bytes);
};

struct BodyLimits {
  int64_t tensor_bytes_max = int64_t{64} << 20;  // Of all tensors that are written as numbers.
};

// INVALID_ARGUMENT names what was given and what was expected. What is wrong with one item alone
// becomes that item's status. Options in `query` and in the body add up; none may be set twice. A
// body of text/plain may have its `text_pair` in the query.
absl::StatusOr<ClassifyBody> ReadClassifyBody(
    absl::string_view content_type, absl::string_view body,
    const std::vector<std::pair<std::string, std::string>>& query, const BodyLimits& limits);

// Whether ReadClassifyBody() reads that type, and its charset; INVALID_ARGUMENT names those it
// reads.
absl::Status CheckContentType(absl::string_view content_type);

// An item of a text, or of two: INVALID_ARGUMENT unless they are UTF-8 of at most kTextBytesMax.
ClassifyItem TextOrStatus(absl::string_view text,
                          std::optional<absl::string_view> pair = std::nullopt);

// A client's word in our message: short, and nothing but printable ASCII.
std::string QuotedWord(absl::string_view word);

}  // namespace torchd
