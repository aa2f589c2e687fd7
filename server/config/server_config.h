// Every setting of the daemon. One table (settings.cc) gives each its YAML key, its flag
// `--key-with-dashes`, its variable `TORCHD_KEY_IN_CAPITALS`, its range and its line of help.
//
// Precedence: flag, then variable, then the file named by --config, then the default.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace torchd {

struct ServerConfig {
  std::string model_repository;                 // Required to serve.
  std::string grpc_address = "127.0.0.1:8001";  // HOST:PORT; port 0: any free one.
  std::string http_address = "127.0.0.1:8000";  // Likewise.
  std::string address_file;                     // Receives the real addresses once ready.
  std::string log_level = "info";               // debug, info, warning, error.
  std::string log_format = "text";              // text, json.
  int cpu_executors = 1;                        // 1..64.
  int threads_per_executor = 0;                 // OpenMP threads; 0: all cores / executors.
  int rows_per_batch_max = 8;                   // 1..1024, where a model does not say.
  int rows_waiting_max = 256;                   // 1..1'000'000, likewise; beyond: refused.
  int in_flight_mb_max = 1024;                  // 1..1'048'576, of inputs; beyond: refused.
  int preprocess_threads = 0;                   // 0: as many as cores; at most 256.
  std::string model_control = "fixed";          // fixed, watch, explicit: who says what loads.
  std::string ready_when = "loaded";            // loaded, all_ready: what /readyz and "" wait for.
  std::string model_name;                       // Of a model in the repository folder itself.
  std::string state_file;                       // Explicit: what was loaded, for the next start.
  int settle_ms = 2000;                         // 0..600'000: files stand still before they load.
  int poll_ms = 10'000;                         // 100..3'600'000: looks where nothing tells.
  int load_threads = 2;                         // 1..64, models loading side by side.
  int trial_seconds_max = 60;                   // 0..3600; 0: no trial in a process of its own.
  int trial_memory_mb_max = 8192;               // 64..1'048'576, of one trial.
  std::string plan_default = "auto";            // auto, fast_start: where a model does not say.
  int plan_seconds_max = 20;                    // 0..3600, to search a plan for a version; 0: none.
  std::string plan_cache = "~/.cache/torchd";   // Folder of what was found; empty: none.
  int memory_mb_max = 0;                        // 0..16'777'216, of all models; 0: no limit.
  int stuck_seconds = 30;                       // 1..86'400, of one run: then NOT_SERVING.
  int message_bytes_max = 64 * 1024 * 1024;     // 1024..1 GiB-1, of one gRPC message.
  int image_megapixels_max = 40;                // 1..1000.
  int image_decoded_mb_max = 64;                // 1..65'536, while one image is decoded.
  int image_ms_max = 2000;                      // 1..3'600'000 of a core, to decode one image.
  int warmup_runs = 4;                          // 0..100 at least, before a version turns ready.
  int warmup_ms_max = 10'000;                   // 0..3'600'000, to measure batches and lengths.
  int benchmarks_max = 1;                       // 0..16 that run at once; beyond: refused.
  int drain_delay_ms = 0;                       // 0..600'000: NOT_SERVING but still answering.
  int drain_limit_ms = 30'000;                  // 0..600'000: then what is left is abandoned.
};

// What the command line asks for.
struct CommandLine {
  enum class Action { kServe, kHelp, kVersion, kCheckConfig, kPrintConfig };
  Action action = Action::kServe;
  ServerConfig config;
};

// `arguments`: argv without the program's name. `environment`: "NAME=value" strings (environ).
// INVALID_ARGUMENT names the setting, the value and what was expected.
absl::StatusOr<CommandLine> ParseCommandLine(const std::vector<std::string>& arguments,
                                             const std::vector<std::string>& environment);

// Executors for which this is 0 share the cores evenly.
int ThreadsPerExecutor(const ServerConfig& config, int cores);

// What no setting alone can tell: INVALID_ARGUMENT naming the settings that contradict each other
// or the machine.
absl::Status CheckServerConfig(const ServerConfig& config, int cores);

// The settings as a YAML file that --config takes.
std::string PrintConfig(const ServerConfig& config);

// The text of --help.
std::string HelpText();

}  // namespace torchd
