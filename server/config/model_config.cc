#include "server/config/model_config.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/base/status_macros.h"
#include "server/config/yaml_reader.h"

namespace torchd {
namespace {

constexpr size_t kInputsMax = 64;
constexpr size_t kDimensionsMax = 8;
// Bounds the product of a shape's sizes, so that nobody downstream overflows when multiplying.
constexpr int64_t kElementsMax = int64_t{1} << 31;

// Where a value stands: its full path, such as "inputs[0].shape[2]".
struct Place {
  const YamlNode& node;
  std::string path;
  int line = node.line;
};

bool IsScalar(const YamlNode& node) { return node.kind == YamlNode::Kind::kScalar; }
bool IsList(const YamlNode& node) { return node.kind == YamlNode::Kind::kList; }
bool IsMapping(const YamlNode& node) { return node.kind == YamlNode::Kind::kMapping; }

std::string Describe(const YamlNode& node) {
  if (IsScalar(node)) return Quoted(node.text);
  if (IsList(node)) return absl::StrCat("a list of ", node.items.size());
  if (IsMapping(node)) return "a mapping";
  return "empty";
}

absl::Status ErrorAt(int line, absl::string_view message) {
  return YamlErrorAt("model.yaml", line, message);
}

absl::Status ErrorAt(const YamlNode& node, absl::string_view message) {
  return ErrorAt(node.line, message);
}

absl::Status Wrong(const Place& place, absl::string_view expected) {
  return ErrorAt(place.line,
                 absl::StrCat(place.path, " is ", Describe(place.node), ", expected ", expected));
}

// --- Scalars. ---

absl::Status ReadText(const Place& place, std::string& target) {
  if (!IsScalar(place.node) || place.node.text.empty() || place.node.text.size() > 255) {
    return Wrong(place, "a text of 1..255 bytes");
  }
  target = place.node.text;
  return absl::OkStatus();
}

absl::Status ReadFileName(const Place& place, std::string& target) {
  constexpr absl::string_view kExpected =
      "the name of a file beside model.yaml, without a folder, of 1..255 bytes";
  if (!IsScalar(place.node)) return Wrong(place, kExpected);
  const std::string& name = place.node.text;
  // The last also catches a NUL, which YAML can spell as an escape.
  const bool plain = !name.empty() && name.size() <= 255 && name != "." &&
                     name.find('/') == std::string::npos && name.find("..") == std::string::npos &&
                     std::none_of(name.begin(), name.end(), [](char c) {
                       return absl::ascii_iscntrl(static_cast<unsigned char>(c));
                     });
  if (!plain) return Wrong(place, kExpected);
  target = name;
  return absl::OkStatus();
}

absl::Status ReadBool(const Place& place, bool& target) {
  if (!IsScalar(place.node) || (place.node.text != "true" && place.node.text != "false")) {
    return Wrong(place, "true or false");
  }
  target = place.node.text == "true";
  return absl::OkStatus();
}

struct Range {
  int least;
  int most;
};

absl::Status ReadInt(const Place& place, Range range, int& target) {
  int value = 0;
  if (!IsScalar(place.node) || !absl::SimpleAtoi(place.node.text, &value) || value < range.least ||
      value > range.most) {
    return Wrong(place, absl::StrCat("a whole number in ", range.least, "..", range.most));
  }
  target = value;
  return absl::OkStatus();
}

// Of `known`, a list of {spelling, value}.
template <typename T, size_t kSize>
absl::Status ReadOneOf(const Place& place,
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
struct Field {
  absl::string_view key;
  absl::Status (*read)(const Place& place, T& target);
};

template <typename T>
std::string KnownKeys(absl::Span<const Field<T>> fields) {
  return absl::StrJoin(fields, ", ", [](std::string* out, const Field<T>& field) {
    absl::StrAppend(out, field.key);
  });
}

// `place.path` is empty at the top of the file.
template <typename T>
absl::Status ReadMapping(const Place& place, absl::Span<const Field<T>> fields, T& target) {
  if (!IsMapping(place.node)) {
    return Wrong(place, absl::StrCat("a mapping ({} for the defaults) of: ", KnownKeys(fields)));
  }
  const std::string prefix = place.path.empty() ? "" : absl::StrCat(place.path, ".");
  std::set<std::string> seen;
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    const YamlNode& name = place.node.keys[i];
    if (!IsScalar(name)) {
      return ErrorAt(name, absl::StrCat(prefix, "<key> is ", Describe(name), ", expected one of ",
                                        KnownKeys(fields)));
    }
    const std::string& key = name.text;
    const auto field = std::find_if(fields.begin(), fields.end(),
                                    [&key](const Field<T>& known) { return known.key == key; });
    if (field == fields.end()) {
      return ErrorAt(name, absl::StrCat(Quoted(prefix + key), " is not a setting, expected one of ",
                                        KnownKeys(fields)));
    }
    if (!seen.insert(key).second) {
      return ErrorAt(name, absl::StrCat(prefix, key, " is set twice"));
    }
    // The key's line: yaml-cpp places an empty value on the line after it.
    const Place value = {place.node.items[i], prefix + key, name.line};
    TORCHD_RETURN_IF_ERROR(field->read(value, target));
  }
  return absl::OkStatus();
}

absl::Status ReadRgb(const Place& place, bool positive, std::array<float, 3>& target) {
  const absl::string_view expected = positive ? "three numbers above 0, for red, green, blue"
                                              : "three numbers, for red, green, blue";
  if (!IsList(place.node) || place.node.items.size() != target.size())
    return Wrong(place, expected);
  for (size_t i = 0; i < target.size(); ++i) {
    const Place item = {place.node.items[i], absl::StrCat(place.path, "[", i, "]")};
    float value = 0;
    // A denormal would turn the division by it into infinities.
    if (!IsScalar(item.node) || !absl::SimpleAtof(item.node.text, &value) ||
        !std::isfinite(value) || (positive && (value <= 0 || !std::isnormal(value)))) {
      return Wrong(item, positive ? "a finite number above 0" : "a finite number");
    }
    target[i] = value;
  }
  return absl::OkStatus();
}

absl::Status ReadShape(const Place& place, std::vector<int64_t>& target) {
  if (!IsList(place.node) || place.node.items.size() > kDimensionsMax) {
    return Wrong(place, absl::StrCat("a list of at most ", kDimensionsMax,
                                     " sizes, without the batch dimension"));
  }
  target.clear();
  int64_t elements = 1;
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    const Place item = {place.node.items[i], absl::StrCat(place.path, "[", i, "]")};
    int64_t size = 0;
    if (!IsScalar(item.node) || !absl::SimpleAtoi(item.node.text, &size) ||
        (size < 1 && size != -1)) {
      return Wrong(item, "a whole number of at least 1, or -1 for any size");
    }
    target.push_back(size);
    if (size == -1) continue;
    if (size > kElementsMax / elements) {
      return Wrong(item, absl::StrCat("a shape of at most ", kElementsMax, " elements in all"));
    }
    elements *= size;
  }
  return absl::OkStatus();
}

// --- What model.yaml holds. ---

absl::Status ReadDataType(const Place& place, std::string& target) {
  using Entry = std::pair<absl::string_view, std::string>;
  const std::array<Entry, 4> known = {Entry{"uint8", "uint8"}, Entry{"int32", "int32"},
                                      Entry{"int64", "int64"}, Entry{"float32", "float32"}};
  return ReadOneOf(place, known, target);
}

constexpr Field<TensorConfig> kTensorFields[] = {
    {"name", [](const Place& place, TensorConfig& input) { return ReadText(place, input.name); }},
    {"data_type",
     [](const Place& place, TensorConfig& input) { return ReadDataType(place, input.data_type); }},
    {"shape",
     [](const Place& place, TensorConfig& input) { return ReadShape(place, input.shape); }},
};

absl::Status ReadInput(const Place& place, TensorConfig& input) {
  TORCHD_RETURN_IF_ERROR(
      ReadMapping(place, absl::Span<const Field<TensorConfig>>(kTensorFields), input));
  for (const Field<TensorConfig>& field : kTensorFields) {
    if (place.node.Find(field.key) == nullptr) {
      return ErrorAt(place.node, absl::StrCat(place.path, ".", field.key, " is missing"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadInputs(const Place& place, std::vector<TensorConfig>& inputs) {
  if (!IsList(place.node) || place.node.items.size() > kInputsMax) {
    return Wrong(place, absl::StrCat("a list of at most ", kInputsMax, " inputs"));
  }
  std::set<std::string> names;
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    const Place item = {place.node.items[i], absl::StrCat(place.path, "[", i, "]")};
    TensorConfig input;
    TORCHD_RETURN_IF_ERROR(ReadInput(item, input));
    if (!names.insert(input.name).second) {
      return Wrong({*item.node.Find("name"), item.path + ".name"},
                   "a name that no other input has");
    }
    inputs.push_back(std::move(input));
  }
  return absl::OkStatus();
}

absl::Status ReadPreset(const Place& place, ImageConfig& image) {
  ImageConfig halves;
  halves.mean.fill(0.5F);
  halves.std.fill(0.5F);
  using Entry = std::pair<absl::string_view, ImageConfig>;
  const std::array<Entry, 2> known = {Entry{"imagenet", ImageConfig{}},
                                      Entry{"imagenet-0.5", halves}};
  return ReadOneOf(place, known, image);
}

absl::Status ReadFilter(const Place& place, ResizeFilter& filter) {
  using Entry = std::pair<absl::string_view, ResizeFilter>;
  constexpr std::array<Entry, 3> kKnown = {Entry{"nearest", ResizeFilter::kNearest},
                                           Entry{"bilinear", ResizeFilter::kBilinear},
                                           Entry{"bicubic", ResizeFilter::kBicubic}};
  return ReadOneOf(place, kKnown, filter);
}

constexpr Field<ImageConfig> kImageFields[] = {
    // ReadImage() took it already: the other keys override it wherever it stands.
    {"preset", [](const Place& /*place*/, ImageConfig& /*image*/) { return absl::OkStatus(); }},
    {"resize",
     [](const Place& place, ImageConfig& image) {
       return ReadInt(place, {1, 4096}, image.resize);
     }},
    {"crop",
     [](const Place& place, ImageConfig& image) {
       return ReadInt(place, {1, 4096}, image.crop);
     }},
    {"filter",
     [](const Place& place, ImageConfig& image) { return ReadFilter(place, image.filter); }},
    {"antialias",
     [](const Place& place, ImageConfig& image) { return ReadBool(place, image.antialias); }},
    {"mean",
     [](const Place& place, ImageConfig& image) { return ReadRgb(place, false, image.mean); }},
    {"std", [](const Place& place, ImageConfig& image) { return ReadRgb(place, true, image.std); }},
};

absl::Status ReadImage(const Place& place, ModelConfig& config) {
  ImageConfig& image = config.image.emplace();
  if (const YamlNode* preset = place.node.Find("preset"); preset != nullptr) {
    TORCHD_RETURN_IF_ERROR(ReadPreset({*preset, place.path + ".preset"}, image));
  }
  return ReadMapping(place, absl::Span<const Field<ImageConfig>>(kImageFields), image);
}

constexpr Field<TextConfig> kTextFields[] = {
    {"vocabulary",
     [](const Place& place, TextConfig& text) { return ReadFileName(place, text.vocabulary); }},
    {"lowercase",
     [](const Place& place, TextConfig& text) { return ReadBool(place, text.lowercase); }},
    {"tokens_max",
     [](const Place& place, TextConfig& text) {
       return ReadInt(place, {2, 8192}, text.tokens_max);
     }},
};

constexpr Field<ModelConfig> kModelFields[] = {
    {"inputs",
     [](const Place& place, ModelConfig& config) { return ReadInputs(place, config.inputs); }},
    {"labels",
     [](const Place& place, ModelConfig& config) { return ReadFileName(place, config.labels); }},
    {"softmax",
     [](const Place& place, ModelConfig& config) { return ReadBool(place, config.softmax); }},
    {"image", [](const Place& place, ModelConfig& config) { return ReadImage(place, config); }},
    {"text",
     [](const Place& place, ModelConfig& config) {
       return ReadMapping(place, absl::Span<const Field<TextConfig>>(kTextFields),
                          config.text.emplace());
     }},
};

absl::StatusOr<ModelConfig> ReadModel(const YamlNode& root) {
  ModelConfig config;
  if (root.kind == YamlNode::Kind::kEmpty) return config;  // Empty, or comments only.
  if (!IsMapping(root)) return ErrorAt(root, "expected lines of `key: value`");
  TORCHD_RETURN_IF_ERROR(
      ReadMapping({root, ""}, absl::Span<const Field<ModelConfig>>(kModelFields), config));
  if (config.image && config.text) {
    return ErrorAt(root, "both image and text are set, expected at most one of them");
  }
  return config;
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& yaml) {
  TORCHD_ASSIGN_OR_RETURN(const YamlNode root, ParseYaml("model.yaml", yaml));
  return ReadModel(root);
}

}  // namespace torchd
