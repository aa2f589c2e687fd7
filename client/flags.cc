#include "client/flags.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/bench_flags.h"

namespace torchd {

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

namespace {

constexpr double kTimeoutSecondsMax = 86'400;
constexpr int kTopKMax = 1000;

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

absl::Status SetNames(const std::string&, Arguments& arguments) {
  arguments.names = true;
  return absl::OkStatus();
}

absl::Status SetNoRetry(const std::string&, Arguments& arguments) {
  arguments.retry = false;
  return absl::OkStatus();
}

absl::Status SetJobs(const std::string& value, Arguments& arguments) {
  if (!absl::SimpleAtoi(value, &arguments.jobs) || arguments.jobs < 1 ||
      arguments.jobs > kJobsMax) {
    return Wrong("--jobs", value, absl::StrCat("a whole number of 1 to ", kJobsMax));
  }
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

absl::Status SetActivation(const std::string& value, Arguments& arguments) {
  if (value == "none") {
    arguments.activation = v1::ACTIVATION_NONE;
  } else if (value == "softmax") {
    arguments.activation = v1::ACTIVATION_SOFTMAX;
  } else if (value == "sigmoid") {
    arguments.activation = v1::ACTIVATION_SIGMOID;
  } else {
    return Wrong("--activation", value, "none, softmax or sigmoid");
  }
  return absl::OkStatus();
}

absl::Status SetThreshold(const std::string& value, Arguments& arguments) {
  float threshold = 0;
  if (!absl::SimpleAtof(value, &threshold) || !std::isfinite(threshold)) {
    return Wrong("--threshold", value, "a number");
  }
  arguments.threshold = threshold;
  return absl::OkStatus();
}

absl::Status SetPair(const std::string& value, Arguments& arguments) {
  arguments.pair = value;
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

constexpr Flag kFlags[] = {
    {"--address", kAnywhere, Value::kAny, SetAddress},
    {"--timeout", kAnywhere, Value::kAny, SetTimeout},
    {"--no-retry", kAnywhere, Value::kNone, SetNoRetry},
    {"--help", kAnywhere | kInCompletion, Value::kNone, SetHelp},
    {"-h", kAnywhere | kInCompletion, Value::kNone, SetHelp},
    {"--version", kBeforeCommand, Value::kNone, SetShowVersion},
    {"--version", kInClassify | kInBench | kInExplain, Value::kAny, SetModelVersion},
    {"--version-label", kInClassify | kInBench, Value::kAny, SetVersionLabel},
    {"--json", kInCommands, Value::kNone, SetJson},
    {"--csv", kInClassify | kInBench, Value::kNone, SetCsv},
    {"--verbose", kInModels, Value::kNone, SetVerbose},
    {"--names", kInModels, Value::kNone, SetNames},
    {"--model", kInClassify, Value::kModel, SetModel},
    {"--top-k", kInClassify, Value::kAny, SetTopK},
    {"--softmax", kInClassify, Value::kNone, SetSoftmax},
    {"--no-softmax", kInClassify, Value::kNone, SetNoSoftmax},
    {"--activation", kInClassify, Value::kActivation, SetActivation},
    {"--threshold", kInClassify, Value::kAny, SetThreshold},
    {"--priority", kInClassify, Value::kPriority, SetPriority},
    {"--text", kInClassify, Value::kNone, SetText},
    {"--pair", kInClassify, Value::kAny, SetPair},
    {"--jobs", kInClassify, Value::kAny, SetJobs},
    {"--batch", kInBench, Value::kAny, SetBatch},
    {"--length", kInBench, Value::kAny, SetLength},
    {"--shape", kInBench, Value::kAny, SetShape},
    {"--warmup", kInBench, Value::kAny, SetWarmUp},
    {"--repeats", kInBench, Value::kAny, SetRepeats},
    {"--duration", kInBench, Value::kAny, SetDuration},
    {"--concurrency", kInBench, Value::kAny, SetConcurrency},
    {"--plan", kInBench, Value::kPlan, SetPlan},
};

constexpr CommandName kCommands[] = {
    {"classify", Command::kClassify, kInClassify, Takes::kFiles, "label images or texts"},
    {"bench", Command::kBench, kInBench, Takes::kModel, "how fast a model runs where it serves"},
    {"models", Command::kModels, kInModels, Takes::kModel, "which models there are"},
    {"explain-input", Command::kExplainInput, kInExplain, Takes::kModel, "what a model takes"},
    {"plan", Command::kPlan, kInPlan, Takes::kModel, "by which plan each model runs"},
    {"status", Command::kStatus, kInStatus, Takes::kNothing, "how the server is doing"},
    {"load", Command::kLoad, kInChange, Takes::kModel, "load a model"},
    {"unload", Command::kUnload, kInChange, Takes::kModel, "take a model out of service"},
    {"reload", Command::kReload, kInChange, Takes::kModel, "load a model anew"},
    {"completion", Command::kCompletion, kInCompletion, Takes::kShell, "script for a shell"},
};

}  // namespace

absl::Span<const Flag> Flags() { return kFlags; }

absl::Span<const CommandName> Commands() { return kCommands; }

std::string CommandNames() {
  std::string names;
  for (const CommandName& command : kCommands) {
    const bool last = &command == std::end(kCommands) - 1;
    absl::StrAppend(&names, names.empty() ? "" : last ? " or " : ", ", command.name);
  }
  return names;
}

const CommandName* FindCommand(absl::string_view name) {
  const auto* const found =
      std::find_if(std::begin(kCommands), std::end(kCommands),
                   [name](const CommandName& known) { return name == known.name; });
  return found == std::end(kCommands) ? nullptr : found;
}

const Flag* FindFlag(absl::string_view name, unsigned place) {
  const auto* const found =
      std::find_if(std::begin(kFlags), std::end(kFlags), [name, place](const Flag& known) {
        return name == known.name && (known.places & place) != 0;
      });
  return found == std::end(kFlags) ? nullptr : found;
}

}  // namespace torchd
