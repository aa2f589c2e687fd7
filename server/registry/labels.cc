#include "server/registry/labels.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/base/utf8.h"

namespace torchd {
namespace {

using Json = nlohmann::json;

std::string Shown(const Json& value) {
  return value.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 64);
}

absl::StatusOr<size_t> IndexOf(const std::string& key) {
  size_t index = 0;
  // What SimpleAtoi() takes beside digits, a sign or spaces, would let two keys be one class.
  if (absl::SimpleAtoi(key, &index) && index < kLabelsMax && absl::StrCat(index) == key) {
    return index;
  }
  return absl::InvalidArgumentError(absl::StrCat(" key \"", absl::CHexEscape(key.substr(0, 64)),
                                                 "\"; expected a class from 0 to ",
                                                 kLabelsMax - 1));
}

// TorchServe's values are the name, or a list of a code and the name.
absl::StatusOr<std::string> NameOf(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array() && !value.empty() && value.back().is_string()) {
    return value.back().get<std::string>();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      " a class is ", Shown(value), "; expected its name, or a list that ends with it"));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> LabelsOfLines(const std::string& text) {
  std::vector<std::string> labels;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    absl::StripTrailingAsciiWhitespace(&line);
    if (!IsUtf8(line)) {
      return absl::InvalidArgumentError(absl::StrCat(labels.size() + 1, ": expected UTF-8, got \"",
                                                     absl::CHexEscape(line), "\""));
    }
    labels.push_back(line);
  }
  while (!labels.empty() && labels.back().empty()) labels.pop_back();
  return labels;
}

absl::StatusOr<std::vector<std::string>> LabelsOfJson(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() && !json.is_array()) {
    return absl::InvalidArgumentError(
        " no JSON of labels; expected {\"0\": \"name\", ...} or [\"name\", ...]");
  }
  std::vector<std::string> labels;
  if (json.is_array()) {
    for (const Json& value : json) {
      TORCHD_ASSIGN_OR_RETURN(labels.emplace_back(), NameOf(value));
    }
    return labels;
  }
  std::vector<bool> given;
  for (const auto& item : json.items()) {
    TORCHD_ASSIGN_OR_RETURN(const size_t index, IndexOf(item.key()));
    if (index >= labels.size()) {
      labels.resize(index + 1);
      given.resize(index + 1);
    }
    TORCHD_ASSIGN_OR_RETURN(labels[index], NameOf(item.value()));
    given[index] = true;
  }
  const auto gap = std::find(given.begin(), given.end(), false);
  if (gap == given.end()) return labels;
  return absl::InvalidArgumentError(
      absl::StrCat(" class ", gap - given.begin(), " is missing; expected each from 0 to ",
                   labels.size() - 1, ", with \"\" for one without a name"));
}

}  // namespace torchd
