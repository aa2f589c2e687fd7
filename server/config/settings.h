// The table of settings behind ServerConfig: their names, ranges and checks. Only the files of this
// folder include it; server_config.h is what the daemon sees.
//
// Thread-safety: all of it is constant.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/config/server_config.h"

namespace torchd {

// Every environment variable that begins so is taken for ours.
inline constexpr absl::string_view kVariablePrefix = "TORCHD_";

// One line of the table: exactly one of `text` and `number` is set.
struct Setting {
  enum class Kind { kPath, kAddress, kChoice, kNumber };
  absl::string_view key;
  absl::string_view help;
  Kind kind;
  std::string ServerConfig::*text = nullptr;
  absl::string_view choices = "";  // Of kChoice, separated by '|'.
  int ServerConfig::*number = nullptr;
  int least = 0;  // Both allowed.
  int most = 0;
};

// In the order in which help and printed files list them.
absl::Span<const Setting> AllSettings();

// How a setting is spelled in the config file, as a flag and as an environment variable.
std::string KeyOf(const Setting& setting);
std::string FlagOf(const Setting& setting);
std::string VariableOf(const Setting& setting);

using NameOf = std::string (*)(const Setting&);  // One of the three above.

// nullptr: no setting has that name.
const Setting* FindSetting(absl::string_view name, NameOf name_of);
std::vector<std::string> SettingNames(NameOf name_of);

// What a value has to be, to complete a sentence: "expected ...".
std::string Expected(const Setting& setting);
std::string ValueOf(const Setting& setting, const ServerConfig& config);

// Leaves `config` alone and returns INVALID_ARGUMENT when `value` does not fit.
// `origin` tells the user where to mend the value: "flag --x", "variable X" or "file:line".
absl::Status ApplySetting(const Setting& setting, absl::string_view value, absl::string_view origin,
                          ServerConfig& config);

// INVALID_ARGUMENT that proposes the nearest of `known`. Requires: `known` is not empty.
absl::Status UnknownName(absl::string_view what, absl::string_view name,
                         const std::vector<std::string>& known);

}  // namespace torchd
