#include "bench/load_arguments.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace torchd::bench {
namespace {

constexpr int64_t kBytesMax = 64 * 1024 * 1024;  // What torchd and the echo server take.

absl::Status Wrong(absl::string_view flag, absl::string_view value, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " is '", value, "'; expected ", expected));
}

absl::Status SetAddress(absl::string_view flag, const std::string& value, std::string& address) {
  const size_t colon = value.rfind(':');
  int port = 0;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(value.substr(colon + 1), &port) || port < 1 || port > 65'535) {
    return Wrong(flag, value, "HOST:PORT with a port of 1 to 65535");
  }
  address = value;
  return absl::OkStatus();
}

template <typename Number>
absl::Status SetWhole(absl::string_view flag, const std::string& value, int64_t least, int64_t most,
                      Number& number) {
  int64_t parsed = 0;
  if (!absl::SimpleAtoi(value, &parsed) || parsed < least || parsed > most) {
    return Wrong(flag, value, absl::StrCat("a whole number of ", least, " to ", most));
  }
  number = static_cast<Number>(parsed);
  return absl::OkStatus();
}

// Written so that NaN fails too.
absl::Status SetReal(absl::string_view flag, const std::string& value, double least, double most,
                     double& number) {
  if (!absl::SimpleAtod(value, &number) || !(number >= least && number <= most)) {
    return Wrong(flag, value, absl::StrCat("a number of ", least, " to ", most));
  }
  return absl::OkStatus();
}

absl::Status SetHelp(const std::string&, LoadArguments& arguments) {
  arguments.help = true;
  return absl::OkStatus();
}

absl::Status SetTarget(const std::string& value, LoadArguments& arguments) {
  return SetAddress("--target", value, arguments.target);
}

absl::Status SetEcho(const std::string& value, LoadArguments& arguments) {
  return SetAddress("--echo", value, arguments.echo);
}

absl::Status AddModel(const std::string& value, LoadArguments& arguments) {
  MixPart model{value.substr(0, value.find(':'))};
  const bool has_weight = model.name.size() < value.size();
  if (model.name.empty() ||
      (has_weight &&
       !SetReal("", value.substr(model.name.size() + 1), 0.001, 1000, model.weight).ok())) {
    return Wrong("--model", value, "NAME or NAME:WEIGHT with a weight of 0.001 to 1000");
  }
  arguments.models.push_back(model);
  return absl::OkStatus();
}

absl::Status SetBytes(const std::string& value, LoadArguments& arguments) {
  return SetWhole("--bytes", value, 0, kBytesMax, arguments.echo_bytes.emplace());
}

absl::Status SetPhases(const std::string& value, LoadArguments& arguments) {
  absl::StatusOr<std::vector<Phase>> phases = ParsePhases(value);
  if (!phases.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--phases: ", phases.status().message()));
  }
  arguments.phases = *std::move(phases);
  return absl::OkStatus();
}

absl::Status SetConcurrency(const std::string& value, LoadArguments& arguments) {
  return SetWhole("--concurrency", value, 1, 100'000, arguments.concurrency);
}

absl::Status SetSeconds(const std::string& value, LoadArguments& arguments) {
  return SetReal("--seconds", value, 0.1, Phase::kSecondsMax, arguments.seconds);
}

absl::Status SetDeadline(const std::string& value, LoadArguments& arguments) {
  int64_t milliseconds = 0;
  absl::Status status = SetWhole("--deadline-ms", value, 0, 86'400'000, milliseconds);
  arguments.deadline = std::chrono::milliseconds(milliseconds);
  return status;
}

absl::Status SetClients(const std::string& value, LoadArguments& arguments) {
  return SetWhole("--clients", value, 1, 1000, arguments.clients);
}

absl::Status SetGreedy(const std::string& value, LoadArguments& arguments) {
  return SetReal("--greedy", value, 0.001, 1000, arguments.greedy);
}

absl::Status SetInFlightMax(const std::string& value, LoadArguments& arguments) {
  return SetWhole("--in-flight-max", value, 1, 1'000'000, arguments.in_flight_max);
}

absl::Status SetSeed(const std::string& value, LoadArguments& arguments) {
  return SetWhole("--seed", value, 0, INT64_MAX, arguments.seed);
}

absl::Status SetFill(const std::string& value, LoadArguments& arguments) {
  if (value != "ones" && value != "random") return Wrong("--fill", value, "ones or random");
  arguments.random_fill = value == "random";
  return absl::OkStatus();
}

absl::Status SetLength(const std::string& value, LoadArguments& arguments) {
  return SetWhole("--length", value, 1, 65'536, arguments.length);
}

absl::Status SetJson(const std::string& value, LoadArguments& arguments) {
  if (value.empty()) return Wrong("--json", value, "a file, or - for standard output");
  arguments.json = value;
  return absl::OkStatus();
}

struct Flag {
  const char* name;
  absl::Status (*set)(const std::string& value, LoadArguments& arguments);
};

// All but --help take a value.
constexpr Flag kFlags[] = {
    {"--help", SetHelp},
    {"--target", SetTarget},
    {"--model", AddModel},
    {"--echo", SetEcho},
    {"--bytes", SetBytes},
    {"--phases", SetPhases},
    {"--concurrency", SetConcurrency},
    {"--seconds", SetSeconds},
    {"--deadline-ms", SetDeadline},
    {"--clients", SetClients},
    {"--greedy", SetGreedy},
    {"--in-flight-max", SetInFlightMax},
    {"--seed", SetSeed},
    {"--fill", SetFill},
    {"--length", SetLength},
    {"--json", SetJson},
};

absl::Status CheckTargets(const LoadArguments& arguments) {
  const bool torchd = !arguments.target.empty();
  if (torchd == arguments.models.empty()) {
    return absl::InvalidArgumentError(torchd ? "--target needs at least one --model"
                                             : "--model needs --target HOST:PORT");
  }
  if (arguments.echo_bytes && (torchd || arguments.echo.empty())) {
    return absl::InvalidArgumentError("--bytes is for --echo without --model");
  }
  if (!torchd && !arguments.echo_bytes) {
    return absl::InvalidArgumentError("--echo without --model needs --bytes");
  }
  for (const MixPart& model : arguments.models) {
    const auto same = [&](const MixPart& other) { return other.name == model.name; };
    if (std::count_if(arguments.models.begin(), arguments.models.end(), same) > 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--model ", model.name, " was given twice; expected once, with a weight"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckComplete(const LoadArguments& arguments) {
  if (arguments.target.empty() && arguments.models.empty() && arguments.echo.empty()) {
    return absl::InvalidArgumentError("no --target and no --echo; see load_generator --help");
  }
  absl::Status targets = CheckTargets(arguments);
  if (!targets.ok()) return targets;
  if ((arguments.concurrency > 0) != (arguments.seconds > 0)) {
    return absl::InvalidArgumentError("--concurrency and --seconds need each other");
  }
  if (arguments.phases.empty() == (arguments.concurrency == 0)) {
    return absl::InvalidArgumentError("expected either --phases, or --concurrency and --seconds");
  }
  if (arguments.greedy != 1 && arguments.clients < 2) {
    return absl::InvalidArgumentError("--greedy needs --clients of 2 or more");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<LoadArguments> ParseLoadArguments(const std::vector<std::string>& words) {
  LoadArguments arguments;
  for (size_t next = 0; next < words.size();) {
    const std::string& word = words[next++];
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    const auto* flag = std::find_if(std::begin(kFlags), std::end(kFlags),
                                    [&](const Flag& known) { return name == known.name; });
    if (flag == std::end(kFlags)) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown argument '", word, "'; see load_generator --help"));
    }
    std::string value;
    if (equals != std::string::npos) {
      value = word.substr(equals + 1);
    } else if (flag->set != SetHelp) {
      if (next == words.size()) {
        return absl::InvalidArgumentError(absl::StrCat(name, " needs a value"));
      }
      value = words[next++];
    }
    absl::Status status = flag->set(value, arguments);
    if (!status.ok()) return status;
    if (arguments.help) return arguments;
  }
  absl::Status complete = CheckComplete(arguments);
  if (!complete.ok()) return complete;
  return arguments;
}

}  // namespace torchd::bench
