// torchctl: asks a torchd server from the command line. This file opens files, sends the calls and
// picks the exit code; what can be tested without either is in arguments, render, json and help.

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/arguments.h"
#include "client/bench_report.h"
#include "client/help.h"
#include "client/json.h"
#include "client/render.h"
#include "client/result.h"
#include "client/torchd_client.h"

namespace torchd {
namespace {

enum ExitCode { kFine = 0, kServerError = 1, kWrongUsage = 2, kUnreachable = 3 };

// A benchmark may last a day; who does not answer by then will not.
constexpr std::chrono::milliseconds kConnectingMax = std::chrono::minutes(1);

void Print(FILE* stream, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stream);
}

ExitCode WrongUsage(const absl::Status& status) {
  Print(stderr, ErrorLine(status));
  return kWrongUsage;
}

// Says what went wrong with a whole call.
ExitCode Failed(const absl::Status& status) {
  if (!IsUnreachable(status)) {
    Print(stderr, ErrorLine(status));
    return kServerError;
  }
  const absl::Status advice = absl::UnavailableError(
      absl::StrCat(status.message(),
                   "; is it running? Start it with: torchd --model-repository DIR "
                   "(or ask another with --address HOST:PORT)"));
  Print(stderr, ErrorLine(advice));
  return kUnreachable;
}

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

// So that a mistyped name stops a long run before its first call, not in the middle.
absl::Status CheckReadable(const Arguments& arguments) {
  for (const std::string& input : arguments.inputs) {
    if (arguments.text || input == "-") continue;
    std::error_code error;
    const bool folder = std::filesystem::is_directory(input, error);
    if (folder || access(input.c_str(), R_OK) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot read '", input, "': ", std::strerror(folder ? EISDIR : errno)));
    }
  }
  return absl::OkStatus();
}

// One run of `torchctl classify`: gathers inputs into calls and shows each answer as it comes (JSON
// at the end, as it is one document).
class ClassifyRun {
 public:
  // Both must outlive it.
  ClassifyRun(const Arguments& arguments, Client& client) : arguments_(arguments), client_(client) {
    request_.set_model(arguments.model);
    request_.set_version(arguments.model_version);
    request_.set_version_label(arguments.version_label);
    if (arguments.top_k) request_.set_top_k(*arguments.top_k);
    if (arguments.softmax) request_.set_softmax(*arguments.softmax);
    request_.set_priority(arguments.priority);
  }

  ExitCode Run() {
    SendAll();
    if (arguments_.json) Print(stdout, ClassifyJson(results_));
    return exit_code_;
  }

 private:
  // Stops early when there is nothing to read or nobody to ask; a call the server refused says
  // nothing about the next one.
  void SendAll() {
    for (const std::string& input : arguments_.inputs) {
      absl::StatusOr<std::string> content = Content(arguments_, input);
      if (!content.ok()) {
        exit_code_ = WrongUsage(content.status());
        return;
      }
      if (!size_.HasRoomFor(content->size())) Send();
      if (exit_code_ == kUnreachable) return;
      Add(input, *std::move(content));
    }
    Send();
  }

  void Add(const std::string& input, std::string content) {
    ++size_.items;
    size_.bytes += content.size();
    names_.push_back(input);
    v1::ClassifyItem* item = request_.add_items();
    if (arguments_.text) {
      item->set_text(std::move(content));
    } else {
      item->set_image(std::move(content));
    }
  }

  // Sends what Add() gathered.
  void Send() {
    absl::StatusOr<v1::ClassifyResponse> response = client_.Classify(request_, arguments_.timeout);
    const std::vector<std::string> names = std::exchange(names_, {});
    request_.clear_items();
    size_ = {};
    if (!response.ok()) {
      ShowFailedCall(names, response.status());
    } else if (response->results_size() != static_cast<int>(names.size())) {
      ShowFailedCall(names,
                     absl::InternalError(absl::StrCat("the server sent ", response->results_size(),
                                                      " results for ", names.size(), " items")));
    } else {
      for (int i = 0; i < response->results_size(); ++i) {
        Show(Result(names[i], *response, response->results(i)));
      }
    }
  }

  static InputResult Result(const std::string& name, const v1::ClassifyResponse& response,
                            const v1::ClassifyResult& result) {
    InputResult shown{name, response.model(), response.version(), result};
    if (result.has_error()) {
      absl::StatusCode code = static_cast<absl::StatusCode>(result.error().code());
      if (code == absl::StatusCode::kOk) code = absl::StatusCode::kUnknown;
      shown.result = absl::Status(code, result.error().message());
    }
    return shown;
  }

  void Show(InputResult result) {
    if (!result.result.ok()) {
      exit_code_ = kServerError;
      // Standard output first, so that both keep the order of the inputs on one terminal.
      std::fflush(stdout);
      const bool several = arguments_.inputs.size() > 1;
      Print(stderr, ErrorLine(result.result.status(), several ? result.input : ""));
    } else if (!arguments_.json) {
      Print(stdout, ClassifyTable(result, arguments_.softmax == false));
    }
    if (arguments_.json) results_.push_back(std::move(result));
  }

  void ShowFailedCall(const std::vector<std::string>& names, const absl::Status& status) {
    // A call with one item fails with that item's status.
    if (names.size() == 1 && !IsUnreachable(status)) {
      Show({names[0], "", 0, status});
      return;
    }
    std::fflush(stdout);
    exit_code_ = Failed(status);
    if (!arguments_.json) return;
    for (const std::string& name : names) results_.push_back({name, "", 0, status});
  }

  const Arguments& arguments_;
  Client& client_;
  v1::ClassifyRequest request_;
  CallSize size_;
  std::vector<std::string> names_;  // Of the items in `request_`.
  std::vector<InputResult> results_;
  ExitCode exit_code_ = kFine;
};

// Shows on a terminal how far a benchmark is: one line that is written over, and gone at the end.
class ProgressShown {
 public:
  ~ProgressShown() {
    if (shown_) Print(stderr, "\r\x1b[K");
  }

  void Show(const v1::BenchmarkProgress& progress) {
    if (!terminal_) return;
    Print(stderr, absl::StrCat("\r\x1b[K", BenchProgressLine(progress)));
    shown_ = true;
  }

 private:
  const bool terminal_ = isatty(STDERR_FILENO) != 0;
  bool shown_ = false;
};

ExitCode Bench(const Arguments& arguments, Client& client) {
  v1::BenchmarkRequest request = arguments.benchmark;
  request.set_model(arguments.model);
  request.set_version(arguments.model_version);
  request.set_version_label(arguments.version_label);
  absl::StatusOr<v1::BenchmarkResult> result = absl::UnknownError("not asked");
  {
    ProgressShown shown;
    result =
        client.Benchmark(request, arguments.timeout,
                         [&shown](const v1::BenchmarkProgress& progress) { shown.Show(progress); });
  }
  if (!result.ok()) return Failed(result.status());
  Print(stdout, arguments.json  ? BenchJson(*result)
                : arguments.csv ? BenchCsv(*result)
                                : BenchTable(*result));
  return kFine;
}

ExitCode Models(const Arguments& arguments, Client& client) {
  v1::ListModelsRequest request;
  request.set_model(arguments.model);
  absl::StatusOr<v1::ListModelsResponse> response = client.ListModels(request, arguments.timeout);
  if (!response.ok()) return Failed(response.status());
  Print(stdout, arguments.json ? ModelsJson(*response) : ModelsTable(*response, arguments.verbose));
  return kFine;
}

ExitCode Plan(const Arguments& arguments, Client& client) {
  v1::ListModelsRequest request;
  request.set_model(arguments.model);
  absl::StatusOr<v1::ListModelsResponse> response = client.ListModels(request, arguments.timeout);
  if (!response.ok()) return Failed(response.status());
  Print(stdout, arguments.json ? ModelsJson(*response) : PlansTable(*response));
  return kFine;
}

// load, unload, reload: what the model's versions are afterwards.
ExitCode Change(const Arguments& arguments, Client& client) {
  const auto call = arguments.command == Command::kLoad     ? &Client::LoadModel
                    : arguments.command == Command::kUnload ? &Client::UnloadModel
                                                            : &Client::ReloadModel;
  const auto response = (client.*call)(arguments.model, arguments.timeout);
  if (!response.ok()) return Failed(response.status());
  v1::ListModelsResponse listing;
  *listing.mutable_models() = response->models();
  Print(stdout, arguments.json ? ModelsJson(listing) : ModelsTable(listing));
  return kFine;
}

ExitCode Status(const Arguments& arguments, Client& client) {
  absl::StatusOr<v1::GetServerStatusResponse> response = client.GetServerStatus(arguments.timeout);
  if (!response.ok()) return Failed(response.status());
  Print(stdout, arguments.json ? StatusJson(*response) : StatusTable(*response));
  return kFine;
}

ExitCode RunCommand(const Arguments& arguments) {
  absl::Status readable = CheckReadable(arguments);
  if (!readable.ok()) return WrongUsage(readable);
  absl::StatusOr<std::unique_ptr<Client>> client =
      Client::Connect(arguments.address, arguments.command == Command::kBench
                                             ? std::min(arguments.timeout, kConnectingMax)
                                             : arguments.timeout);
  if (!client.ok()) return Failed(client.status());
  if (arguments.command == Command::kClassify) return ClassifyRun(arguments, **client).Run();
  if (arguments.command == Command::kBench) return Bench(arguments, **client);
  if (arguments.command == Command::kModels) return Models(arguments, **client);
  if (arguments.command == Command::kPlan) return Plan(arguments, **client);
  if (arguments.command == Command::kStatus) return Status(arguments, **client);
  return Change(arguments, **client);
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
