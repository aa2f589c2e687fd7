// How the fields of config.pbtxt are taken: a table per message says which are read, and why the
// others are not honoured. Only triton_*.cc include it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/base/status_macros.h"
#include "server/config/text_proto.h"

namespace torchd {

// What config.pbtxt says and torchd does not do, one readable line each, in the order of the text.
class NotHonoured {
 public:
  static constexpr size_t kLinesMax = 100;

  // "path (line N): why". A path that was added before stays as it is: one line for all elements of
  // a list.
  void Add(const std::string& path, int line, absl::string_view why);

  // At most kLinesMax, and one that counts the rest.
  std::vector<std::string> TakeLines();

 private:
  std::set<std::string> paths_;
  std::vector<std::string> lines_;
};

// Where a value stands: its full path, such as "input[0].dims[2]". Borrows both.
struct TextPlace {
  const TextField& field;
  std::string path;
  NotHonoured& not_honoured;
};

// INVALID_ARGUMENT "config.pbtxt:line: message", and the usual message of a value that does not
// fit.
absl::Status PbtxtError(int line, absl::string_view message);
absl::Status Wrong(const TextPlace& place, absl::string_view expected);

// What proto3 does not tell from an absent field: 0, false, "".
bool IsDefault(const TextField& field);

// --- Scalars. ---

struct TextRange {
  int64_t least;
  int64_t most;
};

absl::Status TakeInteger(const TextPlace& place, TextRange range, int64_t& target);
absl::Status TakeBool(const TextPlace& place, bool& target);
absl::Status TakeText(const TextPlace& place, std::string& target);  // Of at most 255 bytes.
// "" is the absent one.
absl::Status TakeFileName(const TextPlace& place, std::string& target);

// The value of the identifier in `known`, a list of {spelling, value}.
template <typename T, size_t kSize>
absl::Status TakeOneOf(const TextPlace& place,
                       const std::array<std::pair<absl::string_view, T>, kSize>& known, T& target) {
  std::vector<absl::string_view> spellings;
  for (const auto& [spelling, value] : known) {
    if (place.field.kind == TextField::Kind::kIdentifier && place.field.text == spelling) {
      target = value;
      return absl::OkStatus();
    }
    spellings.push_back(spelling);
  }
  return Wrong(place, absl::StrCat("one of ", absl::StrJoin(spellings, ", ")));
}

// --- Messages. ---

enum class Often { kOnce, kRepeated };

// One field of a message that is read into a T.
template <typename T>
struct TextRule {
  absl::string_view name;
  Often often;
  absl::Status (*take)(const TextPlace& place, T& target);  // nullptr: not honoured, for a reason:
  absl::string_view why_not = "";
};

// Fields that no rule names are not honoured. INVALID_ARGUMENT for a kOnce field that stands twice,
// as protobuf has it. `place.path` is empty for the root.
template <typename T>
absl::Status TakeMessage(const TextPlace& place, absl::Span<const TextRule<T>> rules, T& target) {
  if (place.field.kind != TextField::Kind::kMessage) return Wrong(place, "a message { ... }");
  std::map<absl::string_view, int> seen;
  for (const TextField& field : place.field.fields) {
    const std::string path =
        place.path.empty() ? field.name : absl::StrCat(place.path, ".", field.name);
    const auto rule = std::find_if(rules.begin(), rules.end(), [&](const TextRule<T>& known) {
      return known.name == field.name;
    });
    if (rule == rules.end()) {
      place.not_honoured.Add(path, field.line, "not a field of config.pbtxt that torchd knows");
      continue;
    }
    const int earlier = seen[rule->name]++;
    if (rule->often == Often::kOnce && earlier > 0) {
      return PbtxtError(field.line, absl::StrCat(path, " is given twice, expected at most once"));
    }
    if (rule->take == nullptr) {
      if (!IsDefault(field)) place.not_honoured.Add(path, field.line, rule->why_not);
      continue;
    }
    const bool repeated = rule->often == Often::kRepeated;
    const TextPlace inner = {field, repeated ? absl::StrCat(path, "[", earlier, "]") : path,
                             place.not_honoured};
    TORCHD_RETURN_IF_ERROR(rule->take(inner, target));
  }
  return absl::OkStatus();
}

}  // namespace torchd
