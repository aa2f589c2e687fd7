// multipart/form-data as browsers and `curl -F` send it.
//
// Thread-safety: functions without state.
#pragma once

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/http/classify_body.h"

namespace torchd {

struct FormPart {
  absl::string_view name;
  absl::string_view content;
};

// The value of `key=value` or `key="value"` after the semicolons of a header.
std::optional<absl::string_view> ParameterOf(absl::string_view header, absl::string_view key);

// The parts, borrowed from `body`. INVALID_ARGUMENT for what is no form, or has more parts than
// items and options can be.
absl::StatusOr<std::vector<FormPart>> ReadForm(absl::string_view content_type,
                                               absl::string_view body);

// Parts named `image` and `text` are items, in their order, and `text_pair` is the second text of
// the text before it; the others are options.
absl::Status ReadFormBody(absl::string_view content_type, absl::string_view body,
                          ClassifyBody& result);

}  // namespace torchd
