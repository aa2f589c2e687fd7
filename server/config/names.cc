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

bool IsNameCharacter(char c, bool first) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
         (!first && (c == '.' || c == '-'));
}

bool IsName(absl::string_view name) {
  return !name.empty() && name.size() <= kNameLengthMax && IsNameCharacter(name.front(), true) &&
         std::all_of(name.begin(), name.end(), [](char c) { return IsNameCharacter(c, false); });
}

}  // namespace torchd
