// The flags of the command line, as written: what they mean together with variables and the config
// file is up to ParseCommandLine() in server_config.h.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/config/server_config.h"
#include "server/config/settings.h"

namespace torchd {

// A flag without a value.
struct ActionFlag {
  absl::string_view flag;
  CommandLine::Action action;
  absl::string_view help;
};

inline constexpr ActionFlag kActionFlags[] = {
    {"--help", CommandLine::Action::kHelp, "Print this text."},
    {"--version", CommandLine::Action::kVersion, "Print the version."},
    {"--check-config", CommandLine::Action::kCheckConfig, "Check all settings, then exit."},
    {"--print-config", CommandLine::Action::kPrintConfig,
     "Print the settings in force as YAML, then exit."},
};

struct Flags {
  CommandLine::Action action = CommandLine::Action::kServe;
  std::optional<std::string> config_file;
  std::vector<std::pair<const Setting*, std::string>> values;  // In the order given; unchecked.
};

// `arguments`: argv without the program's name. INVALID_ARGUMENT for what is no flag of ours, and
// for a flag without its value.
absl::StatusOr<Flags> ParseFlags(const std::vector<std::string>& arguments);

}  // namespace torchd
