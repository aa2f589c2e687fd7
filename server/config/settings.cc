#include "server/config/settings.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "server/config/yaml_reader.h"

namespace torchd {
namespace {

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
            "Where HTTP listens, IPv4 only; port 0: any free one."),
    Path("address_file", &ServerConfig::address_file,
         "Receives the real addresses as JSON once ready; empty: none."),
    Choice("log_level", &ServerConfig::log_level, "debug|info|warning|error",
           "The least severity that is logged."),
    Choice("log_format", &ServerConfig::log_format, "text|json", "How a line of the log looks."),
    Number("cpu_executors", &ServerConfig::cpu_executors, {1, 64},
           "Threads that run models, each with its share of the cores."),
    Number("threads_per_executor", &ServerConfig::threads_per_executor, {0, 256},
           "OpenMP threads of one executor; 0: all cores / executors."),
    Number("rows_per_batch_max", &ServerConfig::rows_per_batch_max, {1, 1024},
           "Rows of one run, where a model's configuration does not say; a lone row never waits."),
    Number("rows_waiting_max", &ServerConfig::rows_waiting_max, {1, 1'000'000},
           "Rows that may wait for a model, and items for preprocessing; more are refused."),
    Number("in_flight_mb_max", &ServerConfig::in_flight_mb_max, {1, 1 << 20},
           "MiB of requests in the server at once; more are refused."),
    Number("preprocess_threads", &ServerConfig::preprocess_threads, {0, 256},
           "Threads that decode images and tokenize text; 0: one per core."),
    Choice("model_control", &ServerConfig::model_control, "fixed|watch|explicit",
           "Who decides what is loaded: the start, the repository's files, or an operator."),
    Choice("ready_when", &ServerConfig::ready_when, "loaded|all_ready",
           "The server is ready once loads have ended, or only while every model is ready."),
    Path("model_name", &ServerConfig::model_name,
         "Name of a model that lies in model_repository itself; empty: the folder's name."),
    Path("state_file", &ServerConfig::state_file,
         "With explicit control: keeps what is loaded for the next start; empty: nothing."),
    Number("settle_ms", &ServerConfig::settle_ms, {0, 600'000},
           "Milliseconds that changed files stand still before they are loaded (watch)."),
    Number("poll_ms", &ServerConfig::poll_ms, {100, 3'600'000},
           "Milliseconds between looks where the kernel reports no changes (watch)."),
    Number("load_threads", &ServerConfig::load_threads, {1, 64}, "Models that load side by side."),
    Number("trial_seconds_max", &ServerConfig::trial_seconds_max, {0, 3600},
           "Seconds a version may take in its trial, in a process of its own; 0: no trial."),
    Number("trial_memory_mb_max", &ServerConfig::trial_memory_mb_max, {64, 1 << 20},
           "MiB of memory that a trial may take."),
    Choice(
        "plan_default", &ServerConfig::plan_default, "auto|fast_start",
        "What plan is where a model's configuration does not say: found before a version serves, "
        "or after."),
    Number("plan_seconds_max", &ServerConfig::plan_seconds_max, {0, 3600},
           "Seconds to try which plan runs a new version fastest; 0: none is tried."),
    Path("plan_cache", &ServerConfig::plan_cache,
         "Folder that keeps what plan trials found for the next start; empty: none."),
    Number("memory_mb_max", &ServerConfig::memory_mb_max, {0, 1 << 24},
           "MiB that all models may take together; 0: no limit."),
    Number("stuck_seconds", &ServerConfig::stuck_seconds, {1, 86'400},
           "Seconds that one run may take before health says NOT_SERVING."),
    Number("message_bytes_max", &ServerConfig::message_bytes_max, {1024, (1 << 30) - 1},
           "Bytes of one gRPC message."),
    Number("image_megapixels_max", &ServerConfig::image_megapixels_max, {1, 1000},
           "Millions of pixels of one image; larger ones are refused."),
    Number("image_decoded_mb_max", &ServerConfig::image_decoded_mb_max, {1, 65'536},
           "MiB that decoding one image may hold; what needs more is refused."),
    Number("image_ms_max", &ServerConfig::image_ms_max, {1, 3'600'000},
           "Milliseconds of a core's work for decoding one image; then it is refused."),
    Number("warmup_runs", &ServerConfig::warmup_runs, {0, 100},
           "Least runs of a version before it turns ready; more until its times settle."),
    Number(
        "warmup_ms_max", &ServerConfig::warmup_ms_max, {0, 3'600'000},
        "Milliseconds for measuring runs of several rows and lengths before a version is ready."),
    Number("benchmarks_max", &ServerConfig::benchmarks_max, {0, 16},
           "Benchmarks that may run at once; more are refused; 0: none."),
    Number("drain_delay_ms", &ServerConfig::drain_delay_ms, {0, 600'000},
           "Milliseconds of NOT_SERVING but still answering, once told to stop."),
    Number("drain_limit_ms", &ServerConfig::drain_limit_ms, {0, 600'000},
           "Milliseconds for what is in flight to end; then it is abandoned."),
};

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

}  // namespace

absl::Span<const Setting> AllSettings() { return kSettings; }

std::string KeyOf(const Setting& setting) { return std::string(setting.key); }

std::string FlagOf(const Setting& setting) {
  return absl::StrCat("--", absl::StrReplaceAll(setting.key, {{"_", "-"}}));
}

std::string VariableOf(const Setting& setting) {
  return absl::StrCat(kVariablePrefix, absl::AsciiStrToUpper(setting.key));
}

const Setting* FindSetting(absl::string_view name, NameOf name_of) {
  const auto* found =
      std::find_if(std::begin(kSettings), std::end(kSettings),
                   [&](const Setting& setting) { return name_of(setting) == name; });
  return found == std::end(kSettings) ? nullptr : found;
}

std::vector<std::string> SettingNames(NameOf name_of) {
  std::vector<std::string> names;
  for (const Setting& setting : kSettings) names.emplace_back(name_of(setting));
  return names;
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

absl::Status ApplySetting(const Setting& setting, absl::string_view value, absl::string_view origin,
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

absl::Status UnknownName(absl::string_view what, absl::string_view name,
                         const std::vector<std::string>& known) {
  const absl::string_view head = name.substr(0, 64);  // A key may be as long as its file.
  const auto nearest = std::min_element(known.begin(), known.end(),
                                        [head](const std::string& a, const std::string& b) {
                                          return Distance(head, a) < Distance(head, b);
                                        });
  return absl::InvalidArgumentError(
      absl::StrCat(what, " ", Quoted(name), " is not known; the nearest that is: ", *nearest));
}

}  // namespace torchd
