// Protobuf's text format without protobuf: a small tree within fixed limits, whose every error
// carries its line. It takes what protobuf's TextFormat takes and knows no schema: what a field may
// hold, and how often it may stand, is up to the reader of the tree.
//
// Example:
//   TORCHD_ASSIGN_OR_RETURN(const TextField root, ParseTextProto("config.pbtxt", text));
//   for (const TextField& field : root.fields) ...
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace torchd {

inline constexpr size_t kTextProtoBytesMax = size_t{1} << 20;
inline constexpr int kTextProtoFieldsMax = 10'000;  // Every element of a list counts.
inline constexpr int kTextProtoDepthMax = 64;
inline constexpr size_t kTextProtoNameBytesMax = 255;

// A list `a: [1, 2]` gives the same fields as `a: 1 a: 2`, an empty one none.
struct TextField {
  enum class Kind { kString, kNumber, kIdentifier, kMessage };

  std::string name;  // "dims"; of an extension "[package.name]"; of the root "".
  int line = 1;      // Of the name; in a list, of the element.
  Kind kind = Kind::kMessage;
  // Of a string its value in UTF-8, pieces joined and escapes resolved. Else as written:
  // "TYPE_FP32", "0x1F", "1.5f", with the sign before it: "-8", "-inf".
  std::string text;
  std::vector<TextField> fields;  // Of a message, in the order of the text.
};

// `name` is what errors call the text. INVALID_ARGUMENT with the line for what is not text format.
absl::StatusOr<TextField> ParseTextProto(absl::string_view name, absl::string_view text);

// INVALID_ARGUMENT "name:line: message". `line` counts from 1.
absl::Status TextErrorAt(absl::string_view name, int line, absl::string_view message);

// The whole number, decimal, octal or hexadecimal; nullopt for what is none or exceeds int64.
std::optional<int64_t> IntegerOf(const TextField& field);

// nullopt for what is none of true, True, t, 1, false, False, f, 0.
std::optional<bool> BoolOf(const TextField& field);

// A value for an error, on one line and of bounded length.
std::string Describe(const TextField& field);

}  // namespace torchd
