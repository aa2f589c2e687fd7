#include "client/arguments.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/flags.h"

namespace torchd {
namespace {

constexpr auto kBenchTimeout = std::chrono::hours(24);  // Other limits end it.

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
    const Flag* const flag = FindFlag(name, place_);
    if (flag == nullptr) return UnknownFlag(name);
    std::string value;
    if (equals != std::string::npos) {
      if (flag->value == Value::kNone) return Wrong(name, word.substr(equals + 1), "no value");
      value = word.substr(equals + 1);
    } else if (flag->value != Value::kNone) {
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
    if (FindFlag(name, kInCommands) != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(name, " belongs after the command"));
    }
    return absl::InvalidArgumentError(absl::StrCat("unknown flag ", name, "; see torchctl --help"));
  }

  absl::Status TakeCommand(const std::string& word) {
    const CommandName* const known = FindCommand(word);
    if (known == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown command '", word, "'; expected ", CommandNames()));
    }
    arguments_.command = known->command;
    command_name_ = known->name;
    place_ = known->place;
    takes_ = known->takes;
    return absl::OkStatus();
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
    if (takes_ == Takes::kModel && arguments_.model.empty() && !word.empty()) {
      arguments_.model = word;
      return absl::OkStatus();
    }
    if (takes_ == Takes::kShell && arguments_.shell.empty()) return TakeShell(word);
    return absl::InvalidArgumentError(
        absl::StrCat("unexpected argument '", word, "' of ", command_name_));
  }

  absl::Status TakeShell(const std::string& word) {
    if (word != "bash" && word != "zsh" && word != "fish") {
      return Wrong("the shell of completion", word, "bash, zsh or fish");
    }
    arguments_.shell = word;
    return absl::OkStatus();
  }

  absl::Status CheckComplete() const {
    if (arguments_.command == Command::kNone) {
      return absl::InvalidArgumentError(
          absl::StrCat("no command; expected ", CommandNames(), " (see torchctl --help)"));
    }
    if (takes_ == Takes::kShell && arguments_.shell.empty()) {
      return absl::InvalidArgumentError("completion needs a shell: bash, zsh or fish");
    }
    if (arguments_.command == Command::kClassify && arguments_.inputs.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("classify needs at least one ",
                                                     arguments_.text ? "text" : "file",
                                                     "; see torchctl classify --help"));
    }
    if (arguments_.softmax && arguments_.activation != v1::ACTIVATION_UNSPECIFIED) {
      return absl::InvalidArgumentError(
          absl::StrCat("got both --", *arguments_.softmax ? "" : "no-",
                       "softmax and --activation; expected one of them"));
    }
    if (arguments_.pair && !arguments_.text) {
      return absl::InvalidArgumentError("--pair is the second of two texts; expected --text, too");
    }
    if (arguments_.json && arguments_.csv) {
      return absl::InvalidArgumentError("got both --json and --csv; expected one of them");
    }
    if (arguments_.names && (arguments_.json || arguments_.verbose)) {
      return absl::InvalidArgumentError(
          "--names prints names alone; expected no --json, --verbose");
    }
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
  Takes takes_ = Takes::kNothing;
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
