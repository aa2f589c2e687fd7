#include "server/config/server_config.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "server/base/status_macros.h"
#include "server/config/command_line.h"
#include "server/config/settings.h"
#include "server/config/yaml_reader.h"
#include "yaml-cpp/yaml.h"

namespace torchd {
namespace {

using Action = CommandLine::Action;

constexpr absl::string_view kConfigVariable = "TORCHD_CONFIG";

// --- The file: a flat mapping. ---

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                             &std::fclose);
  std::string text(kYamlBytesMax + 1, '\0');
  if (file != nullptr) text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (file == nullptr || std::ferror(file.get()) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read the config file ", path, ": ", std::strerror(errno)));
  }
  if (text.size() > kYamlBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("the config file ", path, " has more than ", kYamlBytesMax, " bytes"));
  }
  return text;
}

// What is wrong with the shape of one entry; empty: nothing.
std::string ShapeProblem(const YamlNode& key, const YamlNode& value) {
  const auto nested = [](const YamlNode& node) {
    return node.kind == YamlNode::Kind::kList ? "a list" : "a mapping";
  };
  if (key.kind == YamlNode::Kind::kEmpty) return "an empty key; expected the name of a setting";
  if (key.kind != YamlNode::Kind::kScalar) {
    return absl::StrCat("found ", nested(key), ", expected lines of `key: value`");
  }
  if (value.kind == YamlNode::Kind::kEmpty) {
    return absl::StrCat(key.text, " has no value; \"\" is empty");
  }
  if (value.kind == YamlNode::Kind::kScalar) return "";
  return absl::StrCat(Quoted(key.text), " is ", nested(value), ", expected a single value");
}

absl::Status ApplyEntry(const std::string& path, const YamlNode& key, const YamlNode& value,
                        ServerConfig& config) {
  const std::string problem = ShapeProblem(key, value);
  if (!problem.empty()) return YamlErrorAt(path, key.line, problem);
  const std::string origin = absl::StrCat(path, ":", key.line + 1);
  const Setting* setting = FindSetting(key.text, KeyOf);
  if (setting == nullptr) {
    return UnknownName(absl::StrCat(origin, ": setting"), key.text, SettingNames(KeyOf));
  }
  return ApplySetting(*setting, value.text, origin, config);
}

absl::Status ApplyFile(const std::string& path, ServerConfig& config) {
  TORCHD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  TORCHD_ASSIGN_OR_RETURN(const YamlNode root, ParseYaml(path, text));
  if (root.kind == YamlNode::Kind::kEmpty) return absl::OkStatus();  // A file of comments.
  if (root.kind != YamlNode::Kind::kMapping) {
    return YamlErrorAt(path, root.line,
                       absl::StrCat(root.kind == YamlNode::Kind::kList ? "found a list, " : "",
                                    "expected lines of `key: value`"));
  }
  std::set<std::string> seen;
  for (size_t i = 0; i < root.items.size(); ++i) {
    const YamlNode& key = root.keys[i];
    if (key.kind == YamlNode::Kind::kScalar && !seen.insert(key.text).second) {
      return YamlErrorAt(path, key.line, absl::StrCat(Quoted(key.text), " is set twice"));
    }
    TORCHD_RETURN_IF_ERROR(ApplyEntry(path, key, root.items[i], config));
  }
  return absl::OkStatus();
}

// --- Variables. ---

struct Variable {
  std::string name;
  std::string value;
};

std::vector<Variable> OurVariables(const std::vector<std::string>& environment) {
  std::vector<Variable> ours;
  for (const std::string& entry : environment) {
    if (!absl::StartsWith(entry, kVariablePrefix)) continue;
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    ours.push_back({parts.first, parts.second});
  }
  return ours;
}

absl::Status ApplyVariables(const std::vector<Variable>& variables, ServerConfig& config) {
  for (const Variable& variable : variables) {
    if (variable.name == kConfigVariable) continue;
    const Setting* setting = FindSetting(variable.name, VariableOf);
    if (setting == nullptr) {
      std::vector<std::string> known = SettingNames(VariableOf);
      known.emplace_back(kConfigVariable);
      return UnknownName("environment variable", variable.name, known);
    }
    TORCHD_RETURN_IF_ERROR(
        ApplySetting(*setting, variable.value, absl::StrCat("variable ", variable.name), config));
  }
  return absl::OkStatus();
}

std::string ConfigFile(const Flags& flags, const std::vector<Variable>& variables) {
  if (flags.config_file) return *flags.config_file;
  for (const Variable& variable : variables) {
    if (variable.name == kConfigVariable) return variable.value;
  }
  return "";
}

std::string YamlQuoted(const std::string& value) {
  YAML::Emitter emitter;
  emitter << YAML::DoubleQuoted << value;
  return emitter.c_str();
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments,
                                             const std::vector<std::string>& environment) {
  TORCHD_ASSIGN_OR_RETURN(const Flags flags, ParseFlags(arguments));
  CommandLine result{.action = flags.action, .config = {}};
  // Whoever asks for help may well have a broken setting.
  if (flags.action == Action::kHelp || flags.action == Action::kVersion) return result;

  const std::vector<Variable> variables = OurVariables(environment);
  const std::string file = ConfigFile(flags, variables);
  if (!file.empty()) TORCHD_RETURN_IF_ERROR(ApplyFile(file, result.config));
  TORCHD_RETURN_IF_ERROR(ApplyVariables(variables, result.config));
  for (const auto& [setting, value] : flags.values) {
    TORCHD_RETURN_IF_ERROR(
        ApplySetting(*setting, value, absl::StrCat("flag ", FlagOf(*setting)), result.config));
  }
  if (result.action == Action::kServe && result.config.model_repository.empty()) {
    return absl::InvalidArgumentError(
        "model_repository is not set, expected the folder of the models: give --model-repository "
        "PATH, the variable TORCHD_MODEL_REPOSITORY, or model_repository in the config file");
  }
  return result;
}

int ThreadsPerExecutor(const ServerConfig& config, int cores) {
  if (config.threads_per_executor > 0) return config.threads_per_executor;
  return std::max(1, cores / config.cpu_executors);
}

absl::Status CheckServerConfig(const ServerConfig& config, int cores) {
  // More OpenMP threads than cores and every barrier in LibTorch becomes a sleep.
  const int each = ThreadsPerExecutor(config, cores);
  if (each * config.cpu_executors > cores) {
    return absl::InvalidArgumentError(
        absl::StrCat("cpu_executors ", config.cpu_executors, " x threads_per_executor ", each,
                     " makes ", each * config.cpu_executors, " threads; this machine has ", cores,
                     " cores, and more threads than cores slow all of them down"));
  }
  if (config.grpc_address == config.http_address && !absl::EndsWith(config.grpc_address, ":0")) {
    return absl::InvalidArgumentError(absl::StrCat("grpc_address and http_address are both \"",
                                                   config.grpc_address,
                                                   "\", expected two different ones"));
  }
  if (absl::StartsWith(config.http_address, "[")) {
    return absl::InvalidArgumentError(
        absl::StrCat("http_address is \"", config.http_address,
                     "\", expected HOST:PORT with a name or an IPv4 address"));
  }
  return absl::OkStatus();
}

std::string PrintConfig(const ServerConfig& config) {
  std::string text;
  for (const Setting& setting : AllSettings()) {
    const std::string value = ValueOf(setting, config);
    absl::StrAppend(&text, text.empty() ? "" : "\n", "# ", setting.help, "\n# Expects ",
                    Expected(setting), ".\n", setting.key, ": ",
                    setting.number != nullptr ? value : YamlQuoted(value), "\n");
  }
  return text;
}

std::string HelpText() {
  std::string text =
      "Usage: torchd --model-repository PATH [flags]\n"
      "Serves PyTorch classifiers over gRPC.\n\n";
  for (const ActionFlag& action : kActionFlags) {
    absl::StrAppend(&text, "  ", action.flag, "\n      ", action.help, "\n");
  }
  absl::StrAppend(&text, "  --config FILE\n      YAML file of settings; also ", kConfigVariable,
                  ".\n\nSettings, by precedence: flag, variable, config file, default.\n");
  const ServerConfig defaults;
  for (const Setting& setting : AllSettings()) {
    const std::string value = ValueOf(setting, defaults);
    absl::StrAppend(&text, "  ", FlagOf(setting), "  (", VariableOf(setting), ")\n      ",
                    setting.help, "\n      Expects ", Expected(setting),
                    "; default: ", value.empty() ? "none" : value, "\n");
  }
  return text;
}

}  // namespace torchd
