#include "server/config/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"

namespace torchd {

bool IsPlainFileName(absl::string_view name) {
  return !name.empty() && name.size() <= 255 && name != "." &&
         name.find('/') == absl::string_view::npos && name.find("..") == absl::string_view::npos &&
         std::none_of(name.begin(), name.end(),
                      [](char c) { return absl::ascii_iscntrl(static_cast<unsigned char>(c)); });
}

bool IsVersionLabel(absl::string_view label) {
  const auto legal = [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
  };
  return !label.empty() && label.size() <= 128 && label.front() != '.' && label.front() != '-' &&
         std::all_of(label.begin(), label.end(), legal);
}

}  // namespace torchd
