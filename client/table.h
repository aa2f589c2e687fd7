// Plain text in columns. Nothing the server says can break a line or steer the terminal.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace torchd {

// Control characters come out as spaces.
std::string OneLine(absl::string_view text);

// Columns side by side, each as wide as its widest cell, two spaces between them.
std::string Columns(const std::vector<std::vector<std::string>>& rows, absl::string_view indent);

}  // namespace torchd
