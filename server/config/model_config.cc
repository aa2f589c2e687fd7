#include "server/config/model_config.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <exception>
#include <set>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/base/status_macros.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/yaml.h"

namespace torchd {
namespace {

constexpr size_t kTextBytesMax = size_t{1} << 20;
constexpr int kDepthMax = 8;  // inputs[0].shape[0] lies at depth 4.
constexpr int kNodesMax = 10'000;
constexpr size_t kInputsMax = 64;
constexpr size_t kDimensionsMax = 8;
// Bounds the product of a shape's sizes, so that nobody downstream overflows when multiplying.
constexpr int64_t kElementsMax = int64_t{1} << 31;

// Where a value stands: its full path, such as "inputs[0].shape[2]".
struct Place {
  YAML::Node node;
  std::string path;
  int line = node.Mark().line;  // From 0, as yaml-cpp counts.
};

// On one line, whatever bytes came.
std::string Quoted(absl::string_view value) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(value.substr(0, 200)), "\"");
}

std::string Describe(const YAML::Node& node) {
  if (node.IsScalar()) return Quoted(node.Scalar());
  if (node.IsSequence()) return absl::StrCat("a list of ", node.size());
  if (node.IsMap()) return "a mapping";
  return "empty";
}

absl::Status ErrorAt(int line, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat("model.yaml:", line + 1, ": ", message));
}

absl::Status ErrorAt(const YAML::Node& node, absl::string_view message) {
  return ErrorAt(node.Mark().line, message);
}

absl::Status Wrong(const Place& place, absl::string_view expected) {
  return ErrorAt(place.line,
                 absl::StrCat(place.path, " is ", Describe(place.node), ", expected ", expected));
}

// --- Scalars. ---

absl::Status ReadText(const Place& place, std::string& target) {
  if (!place.node.IsScalar() || place.node.Scalar().empty() || place.node.Scalar().size() > 255) {
    return Wrong(place, "a text of 1..255 bytes");
  }
  target = place.node.Scalar();
  return absl::OkStatus();
}

absl::Status ReadFileName(const Place& place, std::string& target) {
  constexpr absl::string_view kExpected =
      "the name of a file beside model.yaml, without a folder, of 1..255 bytes";
  if (!place.node.IsScalar()) return Wrong(place, kExpected);
  const std::string& name = place.node.Scalar();
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
  if (!place.node.IsScalar() || (place.node.Scalar() != "true" && place.node.Scalar() != "false")) {
    return Wrong(place, "true or false");
  }
  target = place.node.Scalar() == "true";
  return absl::OkStatus();
}

struct Range {
  int least;
  int most;
};

absl::Status ReadInt(const Place& place, Range range, int& target) {
  int value = 0;
  if (!place.node.IsScalar() || !absl::SimpleAtoi(place.node.Scalar(), &value) ||
      value < range.least || value > range.most) {
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
    if (place.node.IsScalar() && spelling == place.node.Scalar()) {
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
  if (!place.node.IsMap()) {
    return Wrong(place, absl::StrCat("a mapping ({} for the defaults) of: ", KnownKeys(fields)));
  }
  const std::string prefix = place.path.empty() ? "" : absl::StrCat(place.path, ".");
  std::set<std::string> seen;
  for (const auto& entry : place.node) {
    if (!entry.first.IsScalar()) {
      return ErrorAt(entry.first, absl::StrCat(prefix, "<key> is ", Describe(entry.first),
                                               ", expected one of ", KnownKeys(fields)));
    }
    const std::string& key = entry.first.Scalar();
    const auto field = std::find_if(fields.begin(), fields.end(),
                                    [&key](const Field<T>& known) { return known.key == key; });
    if (field == fields.end()) {
      return ErrorAt(entry.first,
                     absl::StrCat(Quoted(prefix + key), " is not a setting, expected one of ",
                                  KnownKeys(fields)));
    }
    if (!seen.insert(key).second) {
      return ErrorAt(entry.first, absl::StrCat(prefix, key, " is set twice"));
    }
    // The key's line: yaml-cpp places an empty value on the line after it.
    const Place value = {entry.second, prefix + key, entry.first.Mark().line};
    TORCHD_RETURN_IF_ERROR(field->read(value, target));
  }
  return absl::OkStatus();
}

absl::Status ReadRgb(const Place& place, bool positive, std::array<float, 3>& target) {
  const absl::string_view expected = positive ? "three numbers above 0, for red, green, blue"
                                              : "three numbers, for red, green, blue";
  if (!place.node.IsSequence() || place.node.size() != target.size()) return Wrong(place, expected);
  for (size_t i = 0; i < target.size(); ++i) {
    const Place item = {place.node[i], absl::StrCat(place.path, "[", i, "]")};
    float value = 0;
    // A denormal would turn the division by it into infinities.
    if (!item.node.IsScalar() || !absl::SimpleAtof(item.node.Scalar(), &value) ||
        !std::isfinite(value) || (positive && (value <= 0 || !std::isnormal(value)))) {
      return Wrong(item, positive ? "a finite number above 0" : "a finite number");
    }
    target[i] = value;
  }
  return absl::OkStatus();
}

absl::Status ReadShape(const Place& place, std::vector<int64_t>& target) {
  if (!place.node.IsSequence() || place.node.size() > kDimensionsMax) {
    return Wrong(place, absl::StrCat("a list of at most ", kDimensionsMax,
                                     " sizes, without the batch dimension"));
  }
  target.clear();
  int64_t elements = 1;
  for (size_t i = 0; i < place.node.size(); ++i) {
    const Place item = {place.node[i], absl::StrCat(place.path, "[", i, "]")};
    int64_t size = 0;
    if (!item.node.IsScalar() || !absl::SimpleAtoi(item.node.Scalar(), &size) ||
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
    if (!place.node[std::string(field.key)]) {
      return ErrorAt(place.node, absl::StrCat(place.path, ".", field.key, " is missing"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadInputs(const Place& place, std::vector<TensorConfig>& inputs) {
  if (!place.node.IsSequence() || place.node.size() > kInputsMax) {
    return Wrong(place, absl::StrCat("a list of at most ", kInputsMax, " inputs"));
  }
  std::set<std::string> names;
  for (size_t i = 0; i < place.node.size(); ++i) {
    const Place item = {place.node[i], absl::StrCat(place.path, "[", i, "]")};
    TensorConfig input;
    TORCHD_RETURN_IF_ERROR(ReadInput(item, input));
    if (!names.insert(input.name).second) {
      return Wrong({item.node["name"], item.path + ".name"}, "a name that no other input has");
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
  if (place.node.IsMap()) {
    for (const auto& entry : place.node) {
      if (!entry.first.IsScalar() || entry.first.Scalar() != "preset") continue;
      TORCHD_RETURN_IF_ERROR(ReadPreset({entry.second, place.path + ".preset"}, image));
    }
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

// Refuses what would make the tree large or its walk long, before there is a tree. Reports errors
// as yaml-cpp does, by ParserException.
class TreeGuard final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) throw YAML::ParserException(mark, "a second document, expected one");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override { Count(mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    throw YAML::ParserException(mark, "an alias, expected plain values");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                const std::string& /*value*/) override {
    Count(mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/,
                       YAML::anchor_t /*anchor*/, YAML::EmitterStyle::value /*style*/) override {
    Enter(mark);
  }
  void OnSequenceEnd() override { --depth_; }
  void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                  YAML::EmitterStyle::value /*style*/) override {
    Enter(mark);
  }
  void OnMapEnd() override { --depth_; }

 private:
  void Count(const YAML::Mark& mark) {
    if (++nodes_ <= kNodesMax) return;
    throw YAML::ParserException(mark, absl::StrCat("more than ", kNodesMax, " values"));
  }
  void Enter(const YAML::Mark& mark) {
    Count(mark);
    if (++depth_ <= kDepthMax) return;
    throw YAML::ParserException(mark, absl::StrCat("nested deeper than ", kDepthMax, " levels"));
  }

  int documents_ = 0;
  int nodes_ = 0;
  int depth_ = 0;
};

absl::Status CheckText(const std::string& yaml) {
  if (yaml.size() > kTextBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.yaml has ", yaml.size(), " bytes, expected at most ", kTextBytesMax));
  }
  // yaml-cpp takes byte 4 for the end of the file, and would drop what follows.
  const auto control = std::find_if(yaml.begin(), yaml.end(), [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\n' && c != '\r' &&
           c != '\t';
  });
  if (control == yaml.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "model.yaml:", std::count(yaml.begin(), control, '\n') + 1, ": control character ",
      int{static_cast<unsigned char>(*control)}, ", expected YAML in UTF-8"));
}

absl::StatusOr<ModelConfig> ReadModel(const YAML::Node& root) {
  ModelConfig config;
  if (root.IsNull()) return config;  // Empty, or comments only.
  if (!root.IsMap()) return ErrorAt(root, "expected lines of `key: value`");
  TORCHD_RETURN_IF_ERROR(
      ReadMapping({root, ""}, absl::Span<const Field<ModelConfig>>(kModelFields), config));
  if (config.image && config.text) {
    return ErrorAt(root, "both image and text are set, expected at most one of them");
  }
  return config;
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& yaml) {
  TORCHD_RETURN_IF_ERROR(CheckText(yaml));
  try {
    std::istringstream stream(yaml);
    YAML::Parser parser(stream);
    TreeGuard guard;
    while (parser.HandleNextDocument(guard)) {
    }
    return ReadModel(YAML::Load(yaml));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.yaml:", error.mark.line + 1, ": ", error.msg));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("model.yaml is not YAML: ", error.what()));
  }
}

}  // namespace torchd
