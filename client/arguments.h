// What torchctl's command line asks for. Pure: no file is opened and nothing is sent.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "torchd/v1/benchmark.pb.h"
#include "torchd/v1/inference.pb.h"

namespace torchd {

enum class Command {
  kNone,
  kClassify,
  kBench,
  kModels,
  kExplainInput,
  kPlan,
  kStatus,
  kLoad,
  kUnload,
  kReload,
  kCompletion
};

inline constexpr int kJobsMax = 64;

struct Arguments {
  Command command = Command::kNone;
  bool help = false;          // Of `command`, or of torchctl. Then nothing else need be right.
  bool show_version = false;  // torchctl's own; `--version` after `classify` is a model's.
  bool json = false;
  bool csv = false;   // Of classify and bench.
  bool retry = true;  // Refusals that may pass are tried again.
  std::string address = "127.0.0.1:8001";
  // 1 ms to a day, which is what bench has unless it is said.
  std::chrono::milliseconds timeout = std::chrono::seconds(60);

  // Of classify, bench, models, explain-input and plan, where empty means the server's only model,
  // or all models; and of load, unload and reload.
  std::string model;

  bool verbose = false;  // Of models.
  bool names = false;    // Of models: their names alone.
  std::string shell;     // Of completion: "bash", "zsh" or "fish".

  // Of classify and bench; the version of explain-input, too.
  int64_t model_version = 0;  // 0: the highest that is ready.
  std::string version_label;  // Empty: by the version.

  // Of classify.
  std::optional<int> top_k;  // 1..1000.
  std::optional<bool> softmax;
  v1::Activation activation = v1::ACTIVATION_UNSPECIFIED;  // Unspecified: by `softmax`.
  std::optional<float> threshold;
  v1::Priority priority = v1::PRIORITY_UNSPECIFIED;  // Unspecified: normal.
  bool text = false;                                 // `inputs` are texts, not files.
  std::optional<std::string> pair;                   // The second text of each, with `text`.
  int jobs = 4;                                      // Calls in flight, 1..kJobsMax.
  // At least one; "-", at most once, is the standard input. Files, folders and patterns.
  std::vector<std::string> inputs;

  // Of bench.
  v1::BenchmarkRequest benchmark;  // Without the model and its version.
};

// `words`: argv without the program's name. `address_variable`: the value of TORCHCTL_ADDRESS, or
// empty; the flag --address wins over it.
// INVALID_ARGUMENT names the flag, what came and what was expected, on one line.
absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& words,
                                         const std::string& address_variable);

// What one Classify call of torchctl may hold; more inputs make more calls. The server's own limit
// is 64 items and 64 MiB.
struct CallSize {
  static constexpr int kItemsMax = 16;
  static constexpr size_t kBytesMax = size_t{32} * 1024 * 1024;

  int items = 0;
  size_t bytes = 0;

  bool HasRoomFor(size_t more_bytes) const {
    return items < kItemsMax && bytes + more_bytes <= kBytesMax;
  }
};

}  // namespace torchd
