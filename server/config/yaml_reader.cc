#include "server/config/yaml_reader.h"

#include <algorithm>
#include <exception>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/yaml.h"

namespace torchd {
namespace {

constexpr size_t kDepthMax = 8;  // inputs[0].shape[0] of model.yaml lies at depth 4.
constexpr int kNodesMax = 10'000;

// Builds the tree and refuses what would make it large before it is. Reports errors as yaml-cpp
// does, by ParserException: ParseYaml() catches both.
class TreeBuilder final : public YAML::EventHandler {
 public:
  YamlNode TakeRoot() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) throw YAML::ParserException(mark, "a second document, expected one");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    Add(mark, YamlNode::Kind::kEmpty, "");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    throw YAML::ParserException(mark, "an alias, expected plain values");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                const std::string& value) override {
    Add(mark, YamlNode::Kind::kScalar, value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/,
                       YAML::anchor_t /*anchor*/, YAML::EmitterStyle::value /*style*/) override {
    Enter(mark, YamlNode::Kind::kList);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                  YAML::EmitterStyle::value /*style*/) override {
    Enter(mark, YamlNode::Kind::kMapping);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  // Where the next node goes: a mapping takes a key and its value in turn.
  YamlNode& NextPlace() {
    if (open_.empty()) return root_;
    YamlNode& parent = *open_.back();
    const bool is_key =
        parent.kind == YamlNode::Kind::kMapping && parent.keys.size() == parent.items.size();
    return (is_key ? parent.keys : parent.items).emplace_back();
  }

  YamlNode& Add(const YAML::Mark& mark, YamlNode::Kind kind, const std::string& text) {
    if (++nodes_ > kNodesMax) {
      throw YAML::ParserException(mark, absl::StrCat("more than ", kNodesMax, " values"));
    }
    YamlNode& node = NextPlace();
    node.kind = kind;
    node.line = mark.line;
    node.text = text;
    return node;
  }

  void Enter(const YAML::Mark& mark, YamlNode::Kind kind) {
    open_.push_back(&Add(mark, kind, ""));
    if (open_.size() <= kDepthMax) return;
    throw YAML::ParserException(mark, absl::StrCat("nested deeper than ", kDepthMax, " levels"));
  }

  int documents_ = 0;
  int nodes_ = 0;
  YamlNode root_;
  // From the root down. None moves while it is open: only the innermost one's children grow.
  std::vector<YamlNode*> open_;
};

absl::Status CheckText(absl::string_view name, const std::string& text) {
  if (text.size() > kYamlBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " has ", text.size(), " bytes, expected at most ", kYamlBytesMax));
  }
  // yaml-cpp takes byte 4 for the end of the file, and would drop what follows.
  const auto control = std::find_if(text.begin(), text.end(), [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\n' && c != '\r' &&
           c != '\t';
  });
  if (control == text.end()) return absl::OkStatus();
  return YamlErrorAt(name, static_cast<int>(std::count(text.begin(), control, '\n')),
                     absl::StrCat("control character ", int{static_cast<unsigned char>(*control)},
                                  ", expected YAML in UTF-8"));
}

}  // namespace

const YamlNode* YamlNode::Find(absl::string_view key) const {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].kind == Kind::kScalar && keys[i].text == key) return &items[i];
  }
  return nullptr;
}

absl::StatusOr<YamlNode> ParseYaml(absl::string_view name, const std::string& text) {
  TORCHD_RETURN_IF_ERROR(CheckText(name, text));
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    TreeBuilder builder;
    while (parser.HandleNextDocument(builder)) {
    }
    return builder.TakeRoot();
  } catch (const YAML::Exception& error) {
    return YamlErrorAt(name, error.mark.line, error.msg);
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is not YAML: ", error.what()));
  }
}

absl::Status YamlErrorAt(absl::string_view name, int line, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(name, ":", line + 1, ": ", message));
}

std::string Quoted(absl::string_view value) {
  size_t end = std::min<size_t>(value.size(), 200);
  const auto continues = [&](size_t at) {
    return (static_cast<unsigned char>(value[at]) >> 6U) == 2;
  };
  while (end > 0 && end < value.size() && continues(end)) --end;  // Halves no character of UTF-8.
  return absl::StrCat("\"", absl::Utf8SafeCEscape(value.substr(0, end)), "\"");
}

}  // namespace torchd
