#include "server/config/command_line.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/config/yaml_reader.h"

namespace torchd {
namespace {

using Action = CommandLine::Action;

std::vector<std::string> KnownFlags() {
  std::vector<std::string> known = SettingNames(FlagOf);
  known.emplace_back("--config");
  for (const ActionFlag& action : kActionFlags) known.emplace_back(action.flag);
  return known;
}

// Whether `name` is one of kActionFlags; --help wins over the others.
absl::StatusOr<bool> TakeAction(absl::string_view name, bool has_value, Flags& flags) {
  for (const ActionFlag& action : kActionFlags) {
    if (action.flag != name) continue;
    if (has_value) return absl::InvalidArgumentError(absl::StrCat(name, " takes no value"));
    if (flags.action != Action::kHelp) flags.action = action.action;
    return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& arguments) {
  Flags flags;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (!absl::StartsWith(argument, "--")) {
      return absl::InvalidArgumentError(
          absl::StrCat("argument ", Quoted(argument), " is not a flag; --help lists the flags"));
    }
    const size_t equals = argument.find('=');
    const bool has_value = equals != std::string::npos;
    const std::string name = argument.substr(0, equals);
    TORCHD_ASSIGN_OR_RETURN(const bool is_action, TakeAction(name, has_value, flags));
    if (is_action) continue;
    const Setting* setting = FindSetting(name, FlagOf);
    if (setting == nullptr && name != "--config") return UnknownName("flag", name, KnownFlags());
    // A value that begins with "--" is far more likely a forgotten one; `=` takes any.
    if (!has_value && (i + 1 == arguments.size() || absl::StartsWith(arguments[i + 1], "--"))) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " has no value, expected ",
                       setting == nullptr ? "the path of a YAML file" : Expected(*setting)));
    }
    const std::string value = has_value ? argument.substr(equals + 1) : arguments[++i];
    if (setting == nullptr) {
      flags.config_file = value;
    } else {
      flags.values.emplace_back(setting, value);
    }
  }
  return flags;
}

}  // namespace torchd
