#include "server/offline/arguments.h"

#include <cstddef>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/base/status_macros.h"
#include "server/config/model_config.h"

namespace torchd {
namespace {

constexpr char kHelp[] = R"(torchd bench --model-file FILE [FLAGS]

Measures a model without a server, and shows what it makes of an input. FILE is TorchScript (.pt) or
an AOTInductor package (.pt2); model.yaml and labels.txt beside it, or in the folder above a version's
folder, are heeded as when it is served.

  --input FILE     a preprocessed input: the elements of one row, little-endian, as the model's input
                   declares them, or a .npy file. Once for each input, in the model's order; without
                   any, random numbers from a fixed seed
  --labels FILE    one label a line, for the classes
  --plan NAME      saved, frozen, onednn, channels_last, graph, direct, bf16, fp16, int8; default: the
                   configuration's, else frozen
  --length N       stands for every size that the model leaves open; not with --input, whose files say
                   it. Default: 224 for a picture, at most 128 tokens, 16 elsewhere
  --batch N        rows of each run, all alike, 1 to 1024, at most 256 MiB of inputs; default 1
  --warmup N       runs before those that count, 0 to 10000; default 10
  --repeats N      runs that count, 1 to 1000000; default 100
  --threads N      1 to 256; default: as many as cores
  --help           prints this

Examples:
  torchd bench --model-file resnet18.pt
  torchd bench --model-file models/resnet18/1/model.pt --input cat.npy --plan onednn --threads 4

Exit code: 0 all is well; 1 the model does not load or run; 2 wrong usage, such as a file that cannot
be read or does not fit.
)";

struct NumberFlag {
  const char* name;
  int64_t OfflineArguments::*field;
  int64_t least;
  int64_t most;
};
constexpr NumberFlag kNumbers[] = {
    {"--length", &OfflineArguments::length, 1, kElementsMax},
    {"--batch", &OfflineArguments::batch, 1, kRowsPerBatchMax},
    {"--warmup", &OfflineArguments::warm_up, 0, 10'000},
    {"--repeats", &OfflineArguments::repeats, 1, 1'000'000},
    {"--threads", &OfflineArguments::threads, 1, 256},
};

absl::Status SetNumber(const NumberFlag& flag, const std::string& value,
                       OfflineArguments& arguments) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(value, &number) || number < flag.least || number > flag.most) {
    return absl::InvalidArgumentError(absl::StrCat(
        flag.name, " is '", value, "', expected a whole number in ", flag.least, "..", flag.most));
  }
  arguments.*flag.field = number;
  return absl::OkStatus();
}

absl::Status Set(const std::string& name, const std::string& value, OfflineArguments& arguments) {
  for (const NumberFlag& flag : kNumbers) {
    if (name == flag.name) return SetNumber(flag, value, arguments);
  }
  if (name == "--model-file") {
    arguments.model_file = value;
  } else if (name == "--input") {
    arguments.inputs.push_back(value);
  } else if (name == "--labels") {
    arguments.labels_file = value;
  } else if (name == "--plan") {
    arguments.plan = PlanByName({value.data(), value.size()});
    if (!arguments.plan) {
      return absl::InvalidArgumentError(
          absl::StrCat("--plan is '", value, "', expected ", PlanNames()));
    }
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("bench has no flag '", name, "'; see torchd bench --help"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<OfflineArguments> ParseOfflineArguments(const std::vector<std::string>& words) {
  OfflineArguments arguments;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--help" || word == "-h") {
      arguments.help = true;
      return arguments;
    }
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals);
    if (!absl::StartsWith(word, "--")) {
      return absl::InvalidArgumentError(
          absl::StrCat("bench: '", word, "' is not a flag; see torchd bench --help"));
    }
    if (equals == std::string::npos && i + 1 == words.size()) {
      return absl::InvalidArgumentError(absl::StrCat("bench: ", name, " needs a value"));
    }
    const std::string value = equals == std::string::npos ? words[++i] : word.substr(equals + 1);
    TORCHD_RETURN_IF_ERROR(Set(name, value, arguments));
  }
  if (arguments.length > 0 && !arguments.inputs.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("got both --length ", arguments.length,
                     " and --input, whose file says the sizes; expected one of them"));
  }
  if (arguments.model_file.empty()) {
    return absl::InvalidArgumentError("bench needs --model-file FILE; see torchd bench --help");
  }
  return arguments;
}

std::string OfflineHelpText() { return kHelp; }

}  // namespace torchd
