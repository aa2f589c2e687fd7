// Text of a process that may be hostile, fit for protobuf's strings, logs and pages.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace torchd {

// `text` as UTF-8 without control characters: each of these becomes a space, each byte that is no
// UTF-8 a question mark. Text that is fit comes back unchanged.
std::string PlainText(absl::string_view text);

}  // namespace torchd
