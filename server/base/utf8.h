// Is a sequence of bytes text?
//
// Thread-safety: functions without state.
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"

namespace torchd {

// Bytes of the UTF-8 character at the start of `text`; 0 when there is none. Requires: not empty.
size_t Utf8Length(absl::string_view text);

bool IsUtf8(absl::string_view text);

}  // namespace torchd
