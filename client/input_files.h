// From what the command line says to the files that `torchctl classify` reads.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace torchd {

inline constexpr size_t kInputFilesMax = 1'000'000;

// A file is itself and "-" the standard input. A folder is every image below it, by its name's
// ending (.jpg, .jpeg, .png, .webp in any case), but for names that start with a dot; links to
// folders are not followed. Where there is no such file, a pattern with *, ? or [ is what it
// matches. Each of them by name; the order of `words` stays.
//
// INVALID_ARGUMENT names the word that leads to nothing, or to what cannot be read.
absl::StatusOr<std::vector<std::string>> ExpandInputs(const std::vector<std::string>& words);

}  // namespace torchd
