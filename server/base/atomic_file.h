// A file that is either old or new, never half, whenever the process or the machine stops.
//
// Thread-safety: functions without state; one writer per path.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace torchd {

// To a temporary file beside `path`, synced, renamed, and the folder synced. An error leaves what
// was there.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view contents);

// NOT_FOUND without the file. At most `bytes_max` bytes, else INVALID_ARGUMENT.
absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t bytes_max);

}  // namespace torchd
