// torchctl: asks a torchd server from the command line. This file opens files, sends the calls and
// picks the exit code; what can be tested without either is in the files beside it.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/arguments.h"
#include "client/bench_report.h"
#include "client/classify_run.h"
#include "client/completion.h"
#include "client/exit_code.h"
#include "client/explain.h"
#include "client/help.h"
#include "client/input_files.h"
#include "client/json.h"
#include "client/progress.h"
#include "client/render.h"
#include "client/wire_client.h"

namespace torchd {
namespace {

// A benchmark may last a day; who does not answer by then will not.
constexpr std::chrono::milliseconds kConnectingMax = std::chrono::minutes(1);

void Print(FILE* stream, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stream);
}

ExitCode WrongUsage(const absl::Status& status) {
  Print(stderr, ErrorLine(status));
  return kWrongUsage;
}

ExitCode Failed(const absl::Status& status) { return ShowFailure(status, stderr); }

// INVALID_ARGUMENT names the file. "-" is the standard input.
absl::StatusOr<std::string> ReadInput(const std::string& path) {
  const auto close = [](FILE* file) { return file == stdin ? 0 : std::fclose(file); };
  std::unique_ptr<FILE, decltype(close)> file(path == "-" ? stdin : std::fopen(path.c_str(), "rb"),
                                              close);
  std::string bytes;
  std::vector<char> chunk(1 << 16);
  size_t got = 0;
  // A folder opens, and then says EISDIR when it is read.
  while (file && (got = std::fread(chunk.data(), 1, chunk.size(), file.get())) > 0) {
    bytes.append(chunk.data(), got);
    if (bytes.size() > CallSize::kBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", path, "' is larger than ", CallSize::kBytesMax, " bytes (32 MiB)"));
    }
  }
  if (!file || std::ferror(file.get()) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read '", path, "': ", std::strerror(errno)));
  }
  return bytes;
}

// What is sent for `input`.
absl::StatusOr<std::string> Content(const Arguments& arguments, const std::string& input) {
  absl::StatusOr<std::string> content = input;
  if (!arguments.text || input == "-") content = ReadInput(input);
  if (arguments.text && content.ok() && !IsUtf8(*content)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--text '", absl::CHexEscape(*content), "' is no UTF-8"));
  }
  return content;
}

ExitCode Classify(const Arguments& arguments, WireClient& client) {
  if (!IsUtf8(arguments.pair.value_or(""))) {
    return WrongUsage(absl::InvalidArgumentError(
        absl::StrCat("--pair '", absl::CHexEscape(*arguments.pair), "' is no UTF-8")));
  }
  const auto ask = [&arguments, &client](const v1::ClassifyRequest& request) {
    return client.Classify(request, arguments.timeout);
  };
  const auto read = [&arguments](const std::string& input) { return Content(arguments, input); };
  return ClassifyRun(arguments, ask, read, stdout, stderr).Run();
}

ExitCode Bench(const Arguments& arguments, WireClient& client) {
  v1::BenchmarkRequest request = arguments.benchmark;
  request.set_model(arguments.model);
  request.set_version(arguments.model_version);
  request.set_version_label(arguments.version_label);
  absl::StatusOr<v1::BenchmarkResult> result = absl::UnknownError("not asked");
  {
    ProgressLineShown shown;
    result = client.Benchmark(request, arguments.timeout,
                              [&shown](const v1::BenchmarkProgress& progress) {
                                shown.Show(BenchProgressLine(progress));
                              });
  }
  if (!result.ok()) return Failed(result.status());
  Print(stdout, arguments.json  ? BenchJson(*result)
                : arguments.csv ? BenchCsv(*result)
                                : BenchTable(*result));
  return kFine;
}

ExitCode Models(const Arguments& arguments, WireClient& client) {
  v1::ListModelsRequest request;
  request.set_model(arguments.model);
  absl::StatusOr<v1::ListModelsResponse> response = client.ListModels(request, arguments.timeout);
  if (!response.ok()) return Failed(response.status());
  Print(stdout, arguments.names  ? ModelNames(*response)
                : arguments.json ? ModelsJson(*response)
                                 : ModelsTable(*response, arguments.verbose));
  return kFine;
}

ExitCode ExplainInput(const Arguments& arguments, WireClient& client) {
  v1::ListModelsRequest request;
  request.set_model(arguments.model);
  absl::StatusOr<v1::ListModelsResponse> response = client.ListModels(request, arguments.timeout);
  if (!response.ok()) return Failed(response.status());
  absl::StatusOr<v1::ModelVersion> model = VersionToExplain(*response, arguments.model_version);
  if (!model.ok()) return Failed(model.status());
  Print(stdout, arguments.json ? ExplainJson(*model) : ExplainText(*model));
  return kFine;
}

ExitCode Plan(const Arguments& arguments, WireClient& client) {
  v1::ListModelsRequest request;
  request.set_model(arguments.model);
  absl::StatusOr<v1::ListModelsResponse> response = client.ListModels(request, arguments.timeout);
  if (!response.ok()) return Failed(response.status());
  if (!arguments.model.empty()) {
    // Who asked for one model takes no plan at all for a failure.
    const absl::Status ready = VersionToExplain(*response, 0).status();
    if (!ready.ok()) return Failed(ready);
  }
  Print(stdout, arguments.json ? ModelsJson(*response) : PlansTable(*response));
  return kFine;
}

// load, unload, reload: what the model's versions are afterwards.
ExitCode Change(const Arguments& arguments, WireClient& client) {
  const auto call = arguments.command == Command::kLoad     ? &WireClient::LoadModel
                    : arguments.command == Command::kUnload ? &WireClient::UnloadModel
                                                            : &WireClient::ReloadModel;
  const auto response = (client.*call)(arguments.model, arguments.timeout);
  if (!response.ok()) return Failed(response.status());
  v1::ListModelsResponse listing;
  *listing.mutable_models() = response->models();
  Print(stdout, arguments.json ? ModelsJson(listing) : ModelsTable(listing));
  return kFine;
}

ExitCode Status(const Arguments& arguments, WireClient& client) {
  absl::StatusOr<v1::GetServerStatusResponse> response = client.GetServerStatus(arguments.timeout);
  if (!response.ok()) return Failed(response.status());
  Print(stdout, arguments.json ? StatusJson(*response) : StatusTable(*response));
  return kFine;
}

ExitCode RunCommand(Arguments arguments) {
  if (arguments.command == Command::kCompletion) {
    Print(stdout, CompletionScript(arguments.shell));
    return kFine;
  }
  if (arguments.command == Command::kClassify && !arguments.text) {
    // A mistyped name stops a long run before its first call.
    absl::StatusOr<std::vector<std::string>> files = ExpandInputs(arguments.inputs);
    if (!files.ok()) return WrongUsage(files.status());
    arguments.inputs = *std::move(files);
  }
  ClientOptions options;
  options.addresses = {arguments.address};
  options.connecting_max = arguments.command == Command::kBench
                               ? std::min(arguments.timeout, kConnectingMax)
                               : arguments.timeout;
  if (!arguments.retry) options.attempts_max = 1;
  absl::StatusOr<std::unique_ptr<WireClient>> client = WireClient::Connect(options);
  if (!client.ok()) return Failed(client.status());
  switch (arguments.command) {
    case Command::kClassify:
      return Classify(arguments, **client);
    case Command::kBench:
      return Bench(arguments, **client);
    case Command::kModels:
      return Models(arguments, **client);
    case Command::kExplainInput:
      return ExplainInput(arguments, **client);
    case Command::kPlan:
      return Plan(arguments, **client);
    case Command::kStatus:
      return Status(arguments, **client);
    default:
      return Change(arguments, **client);
  }
}

ExitCode Main(const std::vector<std::string>& words) {
  const char* address = std::getenv("TORCHCTL_ADDRESS");
  absl::StatusOr<Arguments> arguments = ParseArguments(words, address == nullptr ? "" : address);
  if (!arguments.ok()) return WrongUsage(arguments.status());
  if (arguments->help || arguments->show_version) {
    Print(stdout, arguments->help ? HelpText(arguments->command) : VersionText());
    return kFine;
  }
  return RunCommand(*arguments);
}

}  // namespace
}  // namespace torchd

int main(int argc, char** argv) {
  const int code = torchd::Main(std::vector<std::string>(argv + 1, argv + argc));
  // A script must not take half an answer, as on a full disk, for a whole one.
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    std::fputs("torchctl: cannot write the answer\n", stderr);
    return 1;
  }
  return code;
}
