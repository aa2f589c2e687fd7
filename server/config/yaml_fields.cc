#include "server/config/yaml_fields.h"

#include "absl/strings/numbers.h"
#include "server/config/names.h"

namespace torchd {

std::string Describe(const YamlNode& node) {
  if (IsScalar(node)) return Quoted(node.text);
  if (IsList(node)) return absl::StrCat("a list of ", node.items.size());
  if (IsMapping(node)) return "a mapping";
  return "empty";
}

absl::Status ModelYamlError(int line, absl::string_view message) {
  return YamlErrorAt("model.yaml", line, message);
}

absl::Status ModelYamlError(const YamlNode& node, absl::string_view message) {
  return ModelYamlError(node.line, message);
}

absl::Status Wrong(const YamlPlace& place, absl::string_view expected) {
  return ModelYamlError(
      place.line, absl::StrCat(place.path, " is ", Describe(place.node), ", expected ", expected));
}

absl::Status ReadText(const YamlPlace& place, std::string& target) {
  if (!IsScalar(place.node) || place.node.text.empty() || place.node.text.size() > 255) {
    return Wrong(place, "a text of 1..255 bytes");
  }
  target = place.node.text;
  return absl::OkStatus();
}

absl::Status ReadFileName(const YamlPlace& place, std::string& target) {
  if (!IsScalar(place.node) || !IsPlainFileName(place.node.text)) {
    return Wrong(place, "the name of a file beside model.yaml, without a folder, of 1..255 bytes");
  }
  target = place.node.text;
  return absl::OkStatus();
}

absl::Status ReadBool(const YamlPlace& place, bool& target) {
  if (!IsScalar(place.node) || (place.node.text != "true" && place.node.text != "false")) {
    return Wrong(place, "true or false");
  }
  target = place.node.text == "true";
  return absl::OkStatus();
}

absl::Status ReadInt(const YamlPlace& place, YamlRange range, int& target) {
  int value = 0;
  if (!IsScalar(place.node) || !absl::SimpleAtoi(place.node.text, &value) || value < range.least ||
      value > range.most) {
    return Wrong(place, absl::StrCat("a whole number in ", range.least, "..", range.most));
  }
  target = value;
  return absl::OkStatus();
}

absl::Status ReadVersion(const YamlPlace& place, int64_t& target) {
  int64_t value = 0;
  if (!IsScalar(place.node) || !absl::SimpleAtoi(place.node.text, &value) || value < 1) {
    return Wrong(place, "the number of a version, at least 1");
  }
  target = value;
  return absl::OkStatus();
}

}  // namespace torchd
