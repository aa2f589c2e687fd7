// What load_generator's command line asks for. Pure: nothing is opened and nothing is sent.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/phases.h"

namespace torchd::bench {

struct MixPart {
  std::string name;
  double weight = 1;
};

struct LoadArguments {
  bool help = false;  // Then nothing else need be right.
  std::string target;
  std::vector<MixPart> models;
  std::string echo;                  // An echo server that takes part in the mix; empty: none.
  std::optional<size_t> echo_bytes;  // Set when there is no model whose request it could be sent.

  std::vector<Phase> phases;  // Of an open loop; empty: a closed one.
  int concurrency = 0;        // Of a closed loop, as `seconds`.
  double seconds = 0;

  std::chrono::milliseconds deadline{0};  // 0: none.
  int clients = 1;
  double greedy = 1;  // Client 0 sends so many times what each other client sends.
  int in_flight_max = 20'000;
  uint64_t seed = 1;
  bool random_fill = false;  // Else ones.
  int64_t length = 16;       // For sizes that the model leaves open.
  std::string json;          // A file, "-" for standard output; empty: a table instead.
};

// `words`: argv without the program's name.
// INVALID_ARGUMENT names the flag, what came and what was expected, on one line.
absl::StatusOr<LoadArguments> ParseLoadArguments(const std::vector<std::string>& words);

}  // namespace torchd::bench
