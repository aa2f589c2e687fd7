// How the values of model.yaml are read: each reader takes what stands at a place into its target
// or returns INVALID_ARGUMENT with the line, the full path, the value and what was expected. Only
// model_config.cc includes it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
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
#include "server/config/yaml_reader.h"

namespace torchd {

// Where a value stands: its full path, such as "inputs[0].shape[2]".
struct YamlPlace {
  const YamlNode& node;
  std::string path;
  int line = node.line;
};

inline bool IsScalar(const YamlNode& node) { return node.kind == YamlNode::Kind::kScalar; }
inline bool IsList(const YamlNode& node) { return node.kind == YamlNode::Kind::kList; }
inline bool IsMapping(const YamlNode& node) { return node.kind == YamlNode::Kind::kMapping; }

std::string Describe(const YamlNode& node);

absl::Status ModelYamlError(int line, absl::string_view message);
absl::Status ModelYamlError(const YamlNode& node, absl::string_view message);
absl::Status Wrong(const YamlPlace& place, absl::string_view expected);

// --- Scalars. ---

absl::Status ReadText(const YamlPlace& place, std::string& target);
absl::Status ReadFileName(const YamlPlace& place, std::string& target);
absl::Status ReadBool(const YamlPlace& place, bool& target);
absl::Status ReadVersion(const YamlPlace& place, int64_t& target);

struct YamlRange {
  int least;
  int most;
};

absl::Status ReadInt(const YamlPlace& place, YamlRange range, int& target);

// Of `known`, a list of {spelling, value}.
template <typename T, size_t kSize>
absl::Status ReadOneOf(const YamlPlace& place,
                       const std::array<std::pair<absl::string_view, T>, kSize>& known, T& target) {
  std::vector<absl::string_view> spellings;
  for (const auto& [spelling, value] : known) {
    if (IsScalar(place.node) && spelling == place.node.text) {
      target = value;
      return absl::OkStatus();
    }
    spellings.push_back(spelling);
  }
  return Wrong(place, absl::StrCat("one of ", absl::StrJoin(spellings, ", ")));
}

// --- Mappings and lists. ---

// How one key of a mapping is read into the T it describes.
template <typename T>
struct YamlField {
  absl::string_view key;
  absl::Status (*read)(const YamlPlace& place, T& target);
};

template <typename T>
std::string KnownKeys(absl::Span<const YamlField<T>> fields) {
  return absl::StrJoin(fields, ", ", [](std::string* out, const YamlField<T>& field) {
    absl::StrAppend(out, field.key);
  });
}

// `place.path` is empty at the top of the file.
template <typename T>
absl::Status ReadMapping(const YamlPlace& place, absl::Span<const YamlField<T>> fields, T& target) {
  if (!IsMapping(place.node)) {
    return Wrong(place, absl::StrCat("a mapping ({} for the defaults) of: ", KnownKeys(fields)));
  }
  const std::string prefix = place.path.empty() ? "" : absl::StrCat(place.path, ".");
  std::set<std::string> seen;
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    const YamlNode& name = place.node.keys[i];
    if (!IsScalar(name)) {
      return ModelYamlError(name, absl::StrCat(prefix, "<key> is ", Describe(name),
                                               ", expected one of ", KnownKeys(fields)));
    }
    const std::string& key = name.text;
    const auto field = std::find_if(fields.begin(), fields.end(),
                                    [&key](const YamlField<T>& known) { return known.key == key; });
    if (field == fields.end()) {
      return ModelYamlError(
          name, absl::StrCat(Quoted(prefix + key), " is not a setting, expected one of ",
                             KnownKeys(fields)));
    }
    if (!seen.insert(key).second) {
      return ModelYamlError(name, absl::StrCat(prefix, key, " is set twice"));
    }
    // The key's line: yaml-cpp places an empty value on the line after it.
    const YamlPlace value = {place.node.items[i], prefix + key, name.line};
    TORCHD_RETURN_IF_ERROR(field->read(value, target));
  }
  return absl::OkStatus();
}

}  // namespace torchd
