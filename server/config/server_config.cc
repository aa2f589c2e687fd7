#include "server/config/server_config.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "server/base/status_macros.h"
#include "yaml-cpp/eventhandler.h"
#include "yaml-cpp/yaml.h"

namespace torchd {
namespace {

using Action = CommandLine::Action;

constexpr size_t kFileBytesMax = size_t{1} << 20;
constexpr absl::string_view kVariablePrefix = "TORCHD_";
constexpr absl::string_view kConfigVariable = "TORCHD_CONFIG";

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

constexpr Setting Path(absl::string_view key, std::string ServerConfig::*field,
                       absl::string_view help) {
  return {.key = key, .help = help, .kind = Setting::Kind::kPath, .text = field};
}

constexpr Setting Address(absl::string_view key, std::string ServerConfig::*field,
                          absl::string_view help) {
  return {.key = key, .help = help, .kind = Setting::Kind::kAddress, .text = field};
}

constexpr Setting Choice(absl::string_view key, std::string ServerConfig::*field,
                         absl::string_view choices, absl::string_view help) {
  return {
      .key = key, .help = help, .kind = Setting::Kind::kChoice, .text = field, .choices = choices};
}

struct Range {
  int least;
  int most;
};

constexpr Setting Number(absl::string_view key, int ServerConfig::*field, Range range,
                         absl::string_view help) {
  return {.key = key,
          .help = help,
          .kind = Setting::Kind::kNumber,
          .number = field,
          .least = range.least,
          .most = range.most};
}

constexpr Setting kSettings[] = {
    Path("model_repository", &ServerConfig::model_repository,
         "Folder of <model>/<version>/; required to serve."),
    Address("grpc_address", &ServerConfig::grpc_address,
            "Where gRPC listens; port 0: any free one."),
    Address("http_address", &ServerConfig::http_address,
            "Where HTTP listens; port 0: any free one."),
    Path("address_file", &ServerConfig::address_file,
         "Receives the real addresses as JSON once ready; empty: none."),
    Choice("log_level", &ServerConfig::log_level, "debug|info|warning|error",
           "The least severity that is logged."),
    Choice("log_format", &ServerConfig::log_format, "text|json", "How a line of the log looks."),
    Number("cpu_executors", &ServerConfig::cpu_executors, {1, 64},
           "Threads that run models, each with its share of the cores."),
    Number("threads_per_executor", &ServerConfig::threads_per_executor, {0, 256},
           "OpenMP threads of one executor; 0: all cores / executors."),
    Number("rows_waiting_max", &ServerConfig::rows_waiting_max, {1, 1'000'000},
           "Rows that may wait for one executor; more are refused."),
    Number("preprocess_threads", &ServerConfig::preprocess_threads, {0, 256},
           "Threads that decode images and tokenize text; 0: one per core."),
    Number("load_threads", &ServerConfig::load_threads, {1, 64}, "Models that load side by side."),
    Number("message_bytes_max", &ServerConfig::message_bytes_max, {1024, (1 << 30) - 1},
           "Bytes of one gRPC message."),
    Number("image_megapixels_max", &ServerConfig::image_megapixels_max, {1, 1000},
           "Millions of pixels of one image; larger ones are refused."),
    Number("warmup_runs", &ServerConfig::warmup_runs, {0, 100},
           "Runs of a version before it turns ready."),
    Number("drain_delay_ms", &ServerConfig::drain_delay_ms, {0, 600'000},
           "Milliseconds of NOT_SERVING but still answering, once told to stop."),
    Number("drain_limit_ms", &ServerConfig::drain_limit_ms, {0, 600'000},
           "Milliseconds for what is in flight to end; then it is abandoned."),
};

struct ActionFlag {
  absl::string_view flag;
  Action action;
  absl::string_view help;
};

constexpr ActionFlag kActions[] = {
    {"--help", Action::kHelp, "Print this text."},
    {"--version", Action::kVersion, "Print the version."},
    {"--check-config", Action::kCheckConfig, "Check all settings, then exit."},
    {"--print-config", Action::kPrintConfig, "Print the settings in force as YAML, then exit."},
};

std::string FlagOf(const Setting& setting) {
  return absl::StrCat("--", absl::StrReplaceAll(setting.key, {{"_", "-"}}));
}

std::string VariableOf(const Setting& setting) {
  return absl::StrCat(kVariablePrefix, absl::AsciiStrToUpper(setting.key));
}

// On one line, whatever bytes came.
std::string Quoted(absl::string_view value) {
  return absl::StrCat("\"", absl::Utf8SafeCEscape(value.substr(0, 200)), "\"");
}

std::string Expected(const Setting& setting) {
  switch (setting.kind) {
    case Setting::Kind::kPath:
      return "a path";
    case Setting::Kind::kAddress:
      return "HOST:PORT with a port in 0..65535 (IPv6 as [HOST]:PORT)";
    case Setting::Kind::kChoice:
      return absl::StrCat("one of ", absl::StrReplaceAll(setting.choices, {{"|", ", "}}));
    case Setting::Kind::kNumber:
      return absl::StrCat("a whole number in ", setting.least, "..", setting.most);
  }
  return "";
}

std::string ValueOf(const Setting& setting, const ServerConfig& config) {
  if (setting.number != nullptr) return absl::StrCat(config.*setting.number);
  return config.*setting.text;
}

bool IsHost(absl::string_view host) {
  const std::string text(host);
  in6_addr scratch;  // Large enough for IPv4 as well.
  if (absl::StartsWith(host, "[")) {
    return absl::EndsWith(host, "]") &&
           inet_pton(AF_INET6, text.substr(1, text.size() - 2).c_str(), &scratch) == 1;
  }
  const bool numeric = text.find_first_not_of("0123456789.") == std::string::npos;
  if (numeric) return inet_pton(AF_INET, text.c_str(), &scratch) == 1;
  return std::all_of(host.begin(), host.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-' || c == '_';
  });
}

bool IsAddress(absl::string_view value) {
  const size_t colon = value.rfind(':');
  if (colon == absl::string_view::npos) return false;
  const absl::string_view port = value.substr(colon + 1);
  const bool digits =
      !port.empty() && port.size() <= 5 && std::all_of(port.begin(), port.end(), [](char c) {
        return absl::ascii_isdigit(static_cast<unsigned char>(c));
      });
  int number = 0;
  return digits && absl::SimpleAtoi(port, &number) && number <= 65535 &&
         IsHost(value.substr(0, colon));
}

bool IsAllowed(const Setting& setting, absl::string_view value) {
  switch (setting.kind) {
    case Setting::Kind::kAddress:
      return IsAddress(value);
    case Setting::Kind::kChoice: {
      const std::vector<absl::string_view> choices = absl::StrSplit(setting.choices, '|');
      return std::find(choices.begin(), choices.end(), value) != choices.end();
    }
    case Setting::Kind::kPath:
    case Setting::Kind::kNumber:
      return true;
  }
  return false;
}

// `origin` tells the user where to mend the value: "flag --x", "variable X" or "file:line".
absl::Status Apply(const Setting& setting, absl::string_view value, absl::string_view origin,
                   ServerConfig& config) {
  int number = 0;
  const bool fits =
      setting.number == nullptr
          ? IsAllowed(setting, value)
          : absl::SimpleAtoi(value, &number) && number >= setting.least && number <= setting.most;
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(setting.key, " is ", Quoted(value), " (", origin,
                                                   "), expected ", Expected(setting)));
  }
  if (setting.number != nullptr) {
    config.*setting.number = number;
  } else {
    config.*setting.text = std::string(value);
  }
  return absl::OkStatus();
}

// Levenshtein's distance, one row at a time.
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

// Requires: `known` is not empty.
absl::Status Unknown(absl::string_view what, absl::string_view name,
                     const std::vector<std::string>& known) {
  const absl::string_view head = name.substr(0, 64);  // A key may be as long as its file.
  const auto nearest = std::min_element(known.begin(), known.end(),
                                        [head](const std::string& a, const std::string& b) {
                                          return Distance(head, a) < Distance(head, b);
                                        });
  return absl::InvalidArgumentError(
      absl::StrCat(what, " ", Quoted(name), " is not known; the nearest that is: ", *nearest));
}

template <typename NameOf>
const Setting* Find(absl::string_view name, NameOf name_of) {
  const auto* found =
      std::find_if(std::begin(kSettings), std::end(kSettings),
                   [&](const Setting& setting) { return name_of(setting) == name; });
  return found == std::end(kSettings) ? nullptr : found;
}

template <typename NameOf>
std::vector<std::string> AllNames(NameOf name_of) {
  std::vector<std::string> names;
  for (const Setting& setting : kSettings) names.emplace_back(name_of(setting));
  return names;
}

std::string KeyOf(const Setting& setting) { return std::string(setting.key); }

// --- The file: a flat mapping. ---

struct Entry {
  std::string key;
  std::string value;
  int line;
};

// Collects the entries without building a tree, so neither depth nor aliases cost anything.
// Reports errors as yaml-cpp does, by ParserException: ReadEntries() catches both.
class EntryCollector final : public YAML::EventHandler {
 public:
  std::vector<Entry> entries;

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) throw YAML::ParserException(mark, "a second document; expected one");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    if (!in_map_) return;  // A file of comments.
    throw YAML::ParserException(mark, key_ ? absl::StrCat(*key_, " has no value; \"\" is empty")
                                           : "an empty key; expected the name of a setting");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override {
    throw YAML::ParserException(mark, "an alias; expected plain values");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                const std::string& value) override {
    if (!in_map_) throw YAML::ParserException(mark, "expected lines of `key: value`");
    if (!key_) {
      if (!seen_.insert(value).second) {
        throw YAML::ParserException(mark, absl::StrCat(Quoted(value), " is set twice"));
      }
      key_ = value;
      key_line_ = mark.line + 1;
      return;
    }
    entries.push_back({*std::exchange(key_, std::nullopt), value, key_line_});
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& /*tag*/,
                       YAML::anchor_t /*anchor*/, YAML::EmitterStyle::value /*style*/) override {
    RefuseNesting(mark, "a list");
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& mark, const std::string& /*tag*/, YAML::anchor_t /*anchor*/,
                  YAML::EmitterStyle::value /*style*/) override {
    if (in_map_) RefuseNesting(mark, "a mapping");
    in_map_ = true;
  }
  void OnMapEnd() override { in_map_ = false; }

 private:
  void RefuseNesting(const YAML::Mark& mark, absl::string_view what) const {
    throw YAML::ParserException(
        mark, key_ ? absl::StrCat(Quoted(*key_), " is ", what, ", expected a single value")
                   : absl::StrCat("found ", what, ", expected lines of `key: value`"));
  }

  int documents_ = 0;
  bool in_map_ = false;
  std::optional<std::string> key_;  // Set while its value is awaited.
  int key_line_ = 0;
  std::set<std::string> seen_;
};

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"),
                                                             &std::fclose);
  std::string text(kFileBytesMax + 1, '\0');
  if (file != nullptr) text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  if (file == nullptr || std::ferror(file.get()) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read the config file ", path, ": ", std::strerror(errno)));
  }
  if (text.size() > kFileBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("the config file ", path, " has more than ", kFileBytesMax, " bytes"));
  }
  return text;
}

absl::StatusOr<std::vector<Entry>> ReadEntries(const std::string& path, const std::string& text) {
  // yaml-cpp takes byte 4 for the end of the file, and would drop what follows.
  const auto control = std::find_if(text.begin(), text.end(), [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c)) && c != '\n' && c != '\r' &&
           c != '\t';
  });
  if (control != text.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":", std::count(text.begin(), control, '\n') + 1, ": control character ",
                     int{static_cast<unsigned char>(*control)}, "; expected YAML in UTF-8"));
  }
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    EntryCollector collector;
    while (parser.HandleNextDocument(collector)) {
    }
    return std::move(collector.entries);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":", error.mark.line + 1, ": ", error.msg));
  } catch (const std::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not YAML: ", error.what()));
  }
}

absl::Status ApplyFile(const std::string& path, ServerConfig& config) {
  TORCHD_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  TORCHD_ASSIGN_OR_RETURN(const std::vector<Entry> entries, ReadEntries(path, text));
  for (const Entry& entry : entries) {
    const std::string origin = absl::StrCat(path, ":", entry.line);
    const Setting* setting = Find(entry.key, KeyOf);
    if (setting == nullptr) {
      return Unknown(absl::StrCat(origin, ": setting"), entry.key, AllNames(KeyOf));
    }
    TORCHD_RETURN_IF_ERROR(Apply(*setting, entry.value, origin, config));
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
    const Setting* setting = Find(variable.name, VariableOf);
    if (setting == nullptr) {
      std::vector<std::string> known = AllNames(VariableOf);
      known.emplace_back(kConfigVariable);
      return Unknown("environment variable", variable.name, known);
    }
    TORCHD_RETURN_IF_ERROR(
        Apply(*setting, variable.value, absl::StrCat("variable ", variable.name), config));
  }
  return absl::OkStatus();
}

// --- Flags. ---

struct Flags {
  Action action = Action::kServe;
  std::optional<std::string> config_file;
  std::vector<std::pair<const Setting*, std::string>> values;  // In the order given.
};

std::vector<std::string> KnownFlags() {
  std::vector<std::string> known = AllNames(FlagOf);
  known.emplace_back("--config");
  for (const ActionFlag& action : kActions) known.emplace_back(action.flag);
  return known;
}

// Whether `name` is one of kActions; --help wins over the others.
absl::StatusOr<bool> TakeAction(absl::string_view name, bool has_value, Flags& flags) {
  for (const ActionFlag& action : kActions) {
    if (action.flag != name) continue;
    if (has_value) return absl::InvalidArgumentError(absl::StrCat(name, " takes no value"));
    if (flags.action != Action::kHelp) flags.action = action.action;
    return true;
  }
  return false;
}

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
    const Setting* setting = Find(name, FlagOf);
    if (setting == nullptr && name != "--config") return Unknown("flag", name, KnownFlags());
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
        Apply(*setting, value, absl::StrCat("flag ", FlagOf(*setting)), result.config));
  }
  if (result.action == Action::kServe && result.config.model_repository.empty()) {
    return absl::InvalidArgumentError(
        "model_repository is not set, expected the folder of the models: give --model-repository "
        "PATH, the variable TORCHD_MODEL_REPOSITORY, or model_repository in the config file");
  }
  return result;
}

std::string PrintConfig(const ServerConfig& config) {
  std::string text;
  for (const Setting& setting : kSettings) {
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
  for (const ActionFlag& action : kActions) {
    absl::StrAppend(&text, "  ", action.flag, "\n      ", action.help, "\n");
  }
  absl::StrAppend(&text, "  --config FILE\n      YAML file of settings; also ", kConfigVariable,
                  ".\n\nSettings, by precedence: flag, variable, config file, default.\n");
  const ServerConfig defaults;
  for (const Setting& setting : kSettings) {
    const std::string value = ValueOf(setting, defaults);
    absl::StrAppend(&text, "  ", FlagOf(setting), "  (", VariableOf(setting), ")\n      ",
                    setting.help, "\n      Expects ", Expected(setting),
                    "; default: ", value.empty() ? "none" : value, "\n");
  }
  return text;
}

}  // namespace torchd
