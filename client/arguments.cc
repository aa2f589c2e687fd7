#include "client/arguments.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/bench_flags.h"

namespace torchd {
namespace {

constexpr double kTimeoutSecondsMax = 86'400;
constexpr int kTopKMax = 1000;
constexpr auto kBenchTimeout = std::chrono::hours(24);  // Other limits end it.

absl::Status Wrong(absl::string_view flag, absl::string_view value, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " is '", value, "'; expected ", expected));
}

absl::Status SetAddress(const std::string& value, Arguments& arguments) {
  const size_t colon = value.rfind(':');
  int port = 0;
  // A bare IPv6 address has colons of its own, so it needs brackets.
  const bool host_ok = colon != std::string::npos && colon > 0 &&
                       (value.find(':') == colon || (value[0] == '[' && value[colon - 1] == ']'));
  if (!host_ok || !absl::SimpleAtoi(value.substr(colon + 1), &port) || port < 1 || port > 65'535) {
    return Wrong("--address", value, "HOST:PORT with a port of 1 to 65535");
  }
  arguments.address = value;
  return absl::OkStatus();
}

absl::Status SetTimeout(const std::string& value, Arguments& arguments) {
  double seconds = 0;
  // Written so that NaN fails too.
  if (!absl::SimpleAtod(value, &seconds) || !(seconds >= 0.001 && seconds <= kTimeoutSecondsMax)) {
    return Wrong("--timeout", value, "seconds, 0.001 to 86400");
  }
  arguments.timeout = std::chrono::milliseconds(std::llround(seconds * 1000));
  return absl::OkStatus();
}

absl::Status SetModel(const std::string& value, Arguments& arguments) {
  if (value.empty()) return Wrong("--model", value, "the name of a model");
  arguments.model = value;
  return absl::OkStatus();
}

absl::Status SetModelVersion(const std::string& value, Arguments& arguments) {
  if (!absl::SimpleAtoi(value, &arguments.model_version) || arguments.model_version < 1) {
    return Wrong("--version", value, "a whole number of 1 or above");
  }
  return absl::OkStatus();
}

absl::Status SetTopK(const std::string& value, Arguments& arguments) {
  int top_k = 0;
  if (!absl::SimpleAtoi(value, &top_k) || top_k < 1 || top_k > kTopKMax) {
    return Wrong("--top-k", value, "a whole number of 1 to 1000");
  }
  arguments.top_k = top_k;
  return absl::OkStatus();
}

absl::Status SetVersionLabel(const std::string& value, Arguments& arguments) {
  if (value.empty()) return Wrong("--version-label", value, "a label such as stable");
  arguments.version_label = value;
  return absl::OkStatus();
}

absl::Status SetHelp(const std::string&, Arguments& arguments) {
  arguments.help = true;
  return absl::OkStatus();
}

absl::Status SetShowVersion(const std::string&, Arguments& arguments) {
  arguments.show_version = true;
  return absl::OkStatus();
}

absl::Status SetJson(const std::string&, Arguments& arguments) {
  arguments.json = true;
  return absl::OkStatus();
}

absl::Status SetVerbose(const std::string&, Arguments& arguments) {
  arguments.verbose = true;
  return absl::OkStatus();
}

absl::Status SetPriority(const std::string& value, Arguments& arguments) {
  if (value == "high") {
    arguments.priority = v1::PRIORITY_HIGH;
  } else if (value == "normal") {
    arguments.priority = v1::PRIORITY_NORMAL;
  } else if (value == "low") {
    arguments.priority = v1::PRIORITY_LOW;
  } else {
    return Wrong("--priority", value, "high, normal or low");
  }
  return absl::OkStatus();
}

absl::Status SetText(const std::string&, Arguments& arguments) {
  arguments.text = true;
  return absl::OkStatus();
}

absl::Status SetSoftmax(const std::string&, Arguments& arguments) {
  arguments.softmax = true;
  return absl::OkStatus();
}

absl::Status SetNoSoftmax(const std::string&, Arguments& arguments) {
  arguments.softmax = false;
  return absl::OkStatus();
}

// Where a flag may stand.
constexpr unsigned kBeforeCommand = 1;
constexpr unsigned kInClassify = 2;
constexpr unsigned kInModels = 4;
constexpr unsigned kInStatus = 8;
constexpr unsigned kInChange = 16;  // load, unload, reload
constexpr unsigned kInPlan = 32;
constexpr unsigned kInBench = 64;
constexpr unsigned kInCommands =
    kInClassify | kInBench | kInModels | kInPlan | kInStatus | kInChange;
constexpr unsigned kAnywhere = kBeforeCommand | kInCommands;

struct Flag {
  const char* name;
  unsigned places;
  bool takes_value;
  absl::Status (*set)(const std::string& value, Arguments& arguments);
};

constexpr Flag kFlags[] = {
    {"--address", kAnywhere, true, SetAddress},
    {"--timeout", kAnywhere, true, SetTimeout},
    {"--help", kAnywhere, false, SetHelp},
    {"-h", kAnywhere, false, SetHelp},
    {"--version", kBeforeCommand, false, SetShowVersion},
    {"--version", kInClassify | kInBench, true, SetModelVersion},
    {"--version-label", kInClassify | kInBench, true, SetVersionLabel},
    {"--json", kInCommands, false, SetJson},
    {"--verbose", kInModels, false, SetVerbose},
    {"--model", kInClassify, true, SetModel},
    {"--top-k", kInClassify, true, SetTopK},
    {"--softmax", kInClassify, false, SetSoftmax},
    {"--no-softmax", kInClassify, false, SetNoSoftmax},
    {"--priority", kInClassify, true, SetPriority},
    {"--text", kInClassify, false, SetText},
    {"--batch", kInBench, true, SetBatch},
    {"--length", kInBench, true, SetLength},
    {"--shape", kInBench, true, SetShape},
    {"--warmup", kInBench, true, SetWarmUp},
    {"--repeats", kInBench, true, SetRepeats},
    {"--duration", kInBench, true, SetDuration},
    {"--concurrency", kInBench, true, SetConcurrency},
    {"--plan", kInBench, true, SetPlan},
    {"--csv", kInBench, false, SetCsv},
};

struct CommandName {
  const char* name;
  Command command;
  unsigned place;
};

constexpr CommandName kCommands[] = {
    {"classify", Command::kClassify, kInClassify}, {"bench", Command::kBench, kInBench},
    {"models", Command::kModels, kInModels},       {"plan", Command::kPlan, kInPlan},
    {"status", Command::kStatus, kInStatus},       {"load", Command::kLoad, kInChange},
    {"unload", Command::kUnload, kInChange},       {"reload", Command::kReload, kInChange},
};

// Reads words from left to right into `arguments_`.
class Parser {
 public:
  explicit Parser(const std::vector<std::string>& words) : words_(words) {}

  absl::StatusOr<Arguments> Parse(const std::string& address_variable) {
    // A wrong variable must not stand in the way of a right flag, so it is judged last.
    while (next_ < words_.size()) {
      absl::Status status = Take(words_[next_++]);
      if (!status.ok()) return status;
      if (arguments_.help || arguments_.show_version) return arguments_;
    }
    if (!address_given_ && !address_variable.empty()) {
      absl::Status status = SetAddress(address_variable, arguments_);
      if (!status.ok()) {
        return Wrong("TORCHCTL_ADDRESS", address_variable, "HOST:PORT with a port of 1 to 65535");
      }
    }
    absl::Status complete = CheckComplete();
    if (!complete.ok()) return complete;
    if (place_ == kInBench && !timeout_given_) arguments_.timeout = kBenchTimeout;
    return arguments_;
  }

 private:
  absl::Status Take(const std::string& word) {
    if (!only_inputs_ && word == "--") {
      only_inputs_ = true;
      return absl::OkStatus();
    }
    if (!only_inputs_ && word.size() > 1 && word[0] == '-') return TakeFlag(word);
    if (arguments_.command == Command::kNone) return TakeCommand(word);
    return TakeInput(word);
  }

  absl::Status TakeFlag(const std::string& word) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const auto* flag = std::find_if(std::begin(kFlags), std::end(kFlags), [&](const Flag& known) {
      return name == known.name && (known.places & place_) != 0;
    });
    if (flag == std::end(kFlags)) return UnknownFlag(name);
    std::string value;
    if (equals != std::string::npos) {
      if (!flag->takes_value) return Wrong(name, word.substr(equals + 1), "no value");
      value = word.substr(equals + 1);
    } else if (flag->takes_value) {
      if (next_ == words_.size()) {
        return absl::InvalidArgumentError(absl::StrCat(name, " needs a value"));
      }
      value = words_[next_++];
    }
    if (name == "--address") address_given_ = true;
    if (name == "--timeout") timeout_given_ = true;
    return flag->set(value, arguments_);
  }

  absl::Status UnknownFlag(const std::string& name) const {
    if (arguments_.command != Command::kNone) {
      return absl::InvalidArgumentError(absl::StrCat("unknown flag ", name, " of ", command_name_,
                                                     "; see torchctl ", command_name_, " --help"));
    }
    const bool of_a_command = std::any_of(std::begin(kFlags), std::end(kFlags),
                                          [&](const Flag& flag) { return name == flag.name; });
    if (of_a_command) {
      return absl::InvalidArgumentError(absl::StrCat(name, " belongs after the command"));
    }
    return absl::InvalidArgumentError(absl::StrCat("unknown flag ", name, "; see torchctl --help"));
  }

  absl::Status TakeCommand(const std::string& word) {
    for (const CommandName& known : kCommands) {
      if (word != known.name) continue;
      arguments_.command = known.command;
      command_name_ = known.name;
      place_ = known.place;
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat("unknown command '", word,
                     "'; expected classify, bench, models, plan, status, load, unload or reload"));
  }

  absl::Status TakeInput(const std::string& word) {
    if (arguments_.command == Command::kClassify) {
      if (word == "-") {
        if (stdin_taken_) return absl::InvalidArgumentError("'-' was given twice; expected once");
        stdin_taken_ = true;
      }
      arguments_.inputs.push_back(word);
      return absl::OkStatus();
    }
    const bool takes_name = (place_ & (kInBench | kInModels | kInPlan | kInChange)) != 0;
    if (takes_name && arguments_.model.empty() && !word.empty()) {
      arguments_.model = word;
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument '", word, "' of ", command_name_));
  }

  absl::Status CheckComplete() const {
    if (arguments_.command == Command::kNone) {
      return absl::InvalidArgumentError(
          "no command; expected classify, bench, models, plan, status, load, unload or reload (see "
          "torchctl --help)");
    }
    if (arguments_.command == Command::kClassify && arguments_.inputs.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("classify needs at least one ",
                                                     arguments_.text ? "text" : "file",
                                                     "; see torchctl classify --help"));
    }
    if (place_ == kInBench) return CheckBench(arguments_);
    if (place_ == kInChange && arguments_.model.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(command_name_, " needs the name of a model"));
    }
    return absl::OkStatus();
  }

  const std::vector<std::string>& words_;
  size_t next_ = 0;
  Arguments arguments_;
  const char* command_name_ = "";
  unsigned place_ = kBeforeCommand;
  bool only_inputs_ = false;  // After "--".
  bool address_given_ = false;
  bool timeout_given_ = false;
  bool stdin_taken_ = false;
};

}  // namespace

absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& words,
                                         const std::string& address_variable) {
  return Parser(words).Parse(address_variable);
}

}  // namespace torchd
