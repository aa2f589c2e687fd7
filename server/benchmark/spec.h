// What a benchmark is to measure, and what is wrong with that before anything is spent on it.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/config/plan.h"
#include "server/inference/tensor.h"
#include "server/registry/registry.h"
#include "server/registry/servable.h"

namespace torchd {

inline constexpr int64_t kBenchmarkRepeatsMax = 1'000'000;
inline constexpr int64_t kBenchmarkRepeats = 100;  // Where neither repeats nor duration is said.
inline constexpr int64_t kBenchmarkWarmUpMax = 10'000;
inline constexpr int64_t kBenchmarkWarmUp = 10;
inline constexpr Duration kBenchmarkDurationMin = std::chrono::milliseconds(1);
inline constexpr Duration kBenchmarkDurationMax = std::chrono::minutes(10);

struct BenchmarkSpec {
  struct InputShape {
    std::string name;  // May be empty where the model has one input.
    Shape shape;       // Of one row.
  };

  std::string model = {};
  int64_t version = 0;  // As in VersionChoice, and its label.
  std::string version_label = {};
  int64_t batch_size = 1;
  // Stands for every size that the model leaves open and no shape says. Unset: where the shapes say
  // one for another input, that; pictures aside.
  std::optional<int64_t> length = {};
  std::vector<InputShape> shapes = {};  // Of the inputs that are named.
  int64_t warm_up = kBenchmarkWarmUp;
  std::optional<int64_t> repeats = {};
  std::optional<Duration> duration = {};  // Not with `repeats`.
  int64_t concurrency = 1;                // Runs at the same time, each on an executor of its own.
  std::string plan = {};                  // Empty: the one that the model is served by.
};

// INVALID_ARGUMENT naming what is out of its range, and the range. `executors`: of the device.
absl::Status CheckNumbers(const BenchmarkSpec& spec, const Servable& servable, int executors);

// The inputs of one row, with no size left open. INVALID_ARGUMENT for a shape that the model does
// not take, for several lengths
// where another input is left open, and for more than kRunBytesMax.
absl::StatusOr<std::vector<TensorSpec>> InputsOf(const BenchmarkSpec& spec,
                                                 const Servable& servable);

// The plan to load the model with; none: the model that serves will do. INVALID_ARGUMENT for one
// that there is not, or not for this model; FAILED_PRECONDITION for one that its owner forbids.
absl::StatusOr<std::optional<Plan>> PlanToLoad(const BenchmarkSpec& spec, const Servable& servable);

}  // namespace torchd
