// YAML from people who may be mistaken or worse: a small tree within fixed limits, whose every
// error carries its line. Aliases, further documents and control characters are refused.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace torchd {

inline constexpr size_t kYamlBytesMax = size_t{1} << 20;

struct YamlNode {
  enum class Kind { kEmpty, kScalar, kList, kMapping };

  // Of a mapping, nullptr without `key`.
  const YamlNode* Find(absl::string_view key) const;

  Kind kind = Kind::kEmpty;
  int line = 0;                 // From 0, as yaml-cpp counts.
  std::string text;             // Of a scalar.
  std::vector<YamlNode> items;  // Of a list; of a mapping its values.
  std::vector<YamlNode> keys;   // Of a mapping, in its order, repeated ones too; else empty.
};

// `name` is what errors call the text. An empty text gives an empty node.
absl::StatusOr<YamlNode> ParseYaml(absl::string_view name, const std::string& text);

// INVALID_ARGUMENT "name:line: message". `line` counts from 0, the message from 1.
absl::Status YamlErrorAt(absl::string_view name, int line, absl::string_view message);

// The start of `value` in quotes, on one line, whatever bytes came.
std::string Quoted(absl::string_view value);

}  // namespace torchd
