// Plans: the ways to execute a loaded model on a device, and which of them serves. Pure code.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "server/base/clock.h"

namespace torchd {

enum class Plan {
  kSaved,         // TorchScript as it was saved. What the others' answers are compared with.
  kFrozen,        // Parameters are constants, so that more of the graph folds.
  kOneDnn,        // Frozen, and LibTorch's optimize_for_inference: oneDNN's own memory layouts.
  kChannelsLast,  // Frozen, pictures and convolutions with their channels last.
  kGraph,         // Frozen, then compiled by oneDNN Graph for each shape.
  kDirect,        // Frozen, then run by oneDNN's primitives without LibTorch, for each shape.
  kBf16,          // Frozen, in bfloat16. This one and the next two change answers: on demand only.
  kFp16,          // Frozen, in float16.
  kInt8,          // Frozen, linear layers in 8 bits.
  kPackage,       // What an AOTInductor package brings along.
};
inline constexpr Plan kDefaultPlan = Plan::kFrozen;

// "frozen"; "channels_last".
std::string Name(Plan plan);
std::optional<Plan> PlanByName(absl::string_view name);

// "saved, frozen, ... or package", for who asked for another.
std::string PlanNames();

// Whether what it runs was compiled for an executor's team: on another thread it would open one.
bool NeedsTeam(Plan plan);

// Whether it calculates with fewer bits than the model as it was saved, so that answers change.
bool HasFewerBits(Plan plan);

// A plan and the threads that it runs on.
struct TeamedPlan {
  // Not explicit: a plan alone has all threads of an executor.
  TeamedPlan(Plan of_plan, int on_threads = 0) : plan(of_plan), threads(on_threads) {}

  friend bool operator==(const TeamedPlan& a, const TeamedPlan& b) {
    return a.plan == b.plan && a.threads == b.threads;
  }

  Plan plan;
  int threads;  // 0: all of an executor's.
};

// How many it is worth trying beside `threads`: half as many, and so on down to one.
std::vector<int> FewerThreads(int threads);

// How one plan fared beside the default one, run in turn with it.
struct PlanCandidate {
  enum class State { kTimed, kForbidden, kWrong, kFailed, kUntried };

  Plan plan = kDefaultPlan;
  int threads = 0;  // 0: all of an executor's.
  State state = State::kUntried;
  Duration run{0};          // Median.
  double ratio = 0;         // To the default plan's.
  double difference = 0;    // Of its answers from the saved model's, at most; relative above 1.
  std::string reason = {};  // Unless timed.
};

// "timed", "forbidden", "wrong", "failed", "untried".
std::string Name(PlanCandidate::State state);
std::optional<PlanCandidate::State> PlanStateByName(absl::string_view name);

struct PlanChoice {
  TeamedPlan teamed() const { return {plan, threads}; }

  Plan plan = kDefaultPlan;
  int threads = 0;  // 0: all of an executor's, unless the model's configuration says how many.
  std::string why;
  std::vector<PlanCandidate> candidates;  // None: nothing was measured.
  bool searching = false;                 // The others are tried while it serves.
  std::string key = {};                   // With `searching`: of the files' bytes.
};

// The fastest that was timed; another than the default one only where it is worth the change, and
// on fewer threads only where that makes it faster again.
PlanChoice Fastest(std::vector<PlanCandidate> candidates);

}  // namespace torchd
