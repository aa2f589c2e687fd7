// What a request asks for: its target taken apart, and which part of the REST interface that is.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace torchd {

struct Target {
  std::string path;                                        // Decoded.
  std::vector<std::pair<std::string, std::string>> query;  // Decoded, in their order.
};

// A plus sign of the query is a space. INVALID_ARGUMENT for what is not `/path?name=value&...`, or
// has a wrong percent sign or a byte 0.
absl::StatusOr<Target> ParseTarget(absl::string_view target);

struct RestRoute {
  enum class Kind { kModels, kModel, kVersion, kClassify };
  Kind kind = Kind::kModels;
  std::string model;
  int64_t version = 0;  // 0: none was named.
};

// Nothing for a path that is not of the REST interface; INVALID_ARGUMENT for a version that is no
// number; NOT_FOUND for a verb that is not `:classify`.
absl::StatusOr<std::optional<RestRoute>> ParseRoute(absl::string_view path);

}  // namespace torchd
