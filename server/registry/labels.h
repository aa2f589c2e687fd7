// The names of a model's classes, from the files that people have. Private to the folder
// `registry`.
//
// Thread-safety: functions without state.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace torchd {

inline constexpr size_t kLabelsMax = 1'000'000;

// One a line, the first for class 0; empty lines at the end do not count. INVALID_ARGUMENT names
// the line that is no UTF-8.
absl::StatusOr<std::vector<std::string>> LabelsOfLines(const std::string& text);

// {"0": "tabby", ...}, as well {"0": ["n02123045", "tabby"], ...}, as TorchServe's
// index_to_name.json has it, or ["tabby", ...]. Each class up to the last is named once, with "" if
// it has no name: one that was forgotten would pass for that otherwise.
// INVALID_ARGUMENT says what else it is.
absl::StatusOr<std::vector<std::string>> LabelsOfJson(const std::string& text);

std::vector<std::string> ImagenetLabels();

}  // namespace torchd
