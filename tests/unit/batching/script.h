// Random arrivals for the scheduler's property tests: short, and mean in as many ways as possible.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "server/batching/lane.h"
#include "server/batching/request.h"

namespace torchd {

using std::chrono::microseconds;

inline constexpr int kScriptSizes = 3;    // Sizes, so shape classes: 1, 2 and 3.
inline constexpr int kScriptClients = 3;  // The first is "nobody".
inline constexpr int kScriptLanes = 3;

// SplitMix64: starts at once from any seed, and the same everywhere.
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}

  // 0 .. limit - 1.
  int Below(int limit) {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return static_cast<int>((z ^ (z >> 31)) % static_cast<uint64_t>(limit));
  }
  bool Percent(int chance) { return Below(100) < chance; }
  int Of(std::initializer_list<int> choices) {
    return choices.begin()[Below(static_cast<int>(choices.size()))];
  }

 private:
  uint64_t state_;
};

struct ScriptRow {
  int lane = 0;
  int size = 1;
  Priority priority = Priority::kNormal;
  int client = 0;
  microseconds at{0};
  microseconds deadline_in = microseconds::max();
  microseconds cancelled_in = microseconds::max();
};

struct ScriptLane {
  LaneOptions options;
  // What a run really takes: by size - 1, then by bucket as in options.
  std::array<std::vector<microseconds>, kScriptSizes> took;
  int measured_percent = 0;  // 0: nothing was measured before; 100: what runs really take.
};

struct Script {
  int executors = 1;
  microseconds first_busy{0};  // So long the first executor does something else.
  std::vector<ScriptLane> lanes;
  std::vector<ScriptRow> rows;  // As they arrive.

  microseconds wakes_late{0};  // So long after the end of a wait for company executors ask.

  // One lane, one class, deadlines aside: where a wait has a simple bound.
  bool plain = false;
};

inline std::vector<int> RandomBuckets(Dice& dice) {
  static const std::vector<std::vector<int>> tables = {{1},          {1, 2},    {4},   {1, 2, 4, 8},
                                                       {1, 2, 4, 6}, {1, 3, 8}, {2, 5}};
  return tables[static_cast<size_t>(dice.Below(static_cast<int>(tables.size())))];
}

inline ScriptLane RandomLane(Dice& dice, int executors) {
  ScriptLane lane;
  lane.options.buckets = RandomBuckets(dice);
  lane.options.rows_waiting_max = dice.Percent(60) ? 1 + dice.Below(12) : 256;
  if (dice.Percent(30)) lane.options.delay_max = microseconds(500 + dice.Below(20'000));
  if (dice.Percent(30)) lane.options.regroup_max = microseconds(500 + dice.Below(20'000));
  if (dice.Percent(25)) lane.options.executors_max = 1 + dice.Below(executors);
  lane.options.ageing = microseconds(dice.Of({2'000, 10'000, 40'000, 1'000'000}));
  const int fixed = 500 + dice.Below(10'000), per_row = 50 + dice.Below(3'000);
  const int kind = dice.Below(4);
  for (int size = 1; size <= kScriptSizes; ++size) {
    for (const int bucket : lane.options.buckets) {
      int took = fixed + size * per_row * bucket;
      if (kind == 1) took = fixed * size;
      if (kind == 2) took = per_row * size * bucket;
      if (kind == 3) took = 500 + dice.Below(20'000);  // As bumpy as it gets.
      lane.took[static_cast<size_t>(size) - 1].emplace_back(took);
    }
  }
  lane.measured_percent = dice.Of({0, 100, 100, 100, 100, 20, 500});
  return lane;
}

inline Script RandomScript(uint64_t seed) {
  Dice dice(seed);
  Script script;
  script.executors = 1 + dice.Below(3);
  if (dice.Percent(10)) script.first_busy = microseconds(dice.Below(30'000));
  if (dice.Percent(30)) script.wakes_late = microseconds(dice.Below(900));
  const int lanes = dice.Of({1, 1, 2, 3}), sizes = dice.Of({1, 1, 2, kScriptSizes});
  for (int i = 0; i < lanes; ++i) script.lanes.push_back(RandomLane(dice, script.executors));

  const int clients = dice.Of({1, 2, kScriptClients}), priorities = dice.Of({1, 2, kPriorities});
  const int deadline_percent = dice.Of({0, 30, 100}),
            deadline_us = dice.Of({5'000, 30'000, 90'000});
  const int cancel_percent = dice.Of({0, 0, 20}), gap_us = dice.Of({300, 1'500, 6'000, 20'000});
  const int burst_percent = dice.Of({0, 30, 80});
  microseconds at{0};
  for (int i = 10 + dice.Below(dice.Of({20, 50})); i > 0; --i) {
    if (!dice.Percent(burst_percent)) at += microseconds(dice.Below(2 * gap_us));
    ScriptRow row;
    row.at = at;
    row.lane = dice.Below(lanes);
    row.size = 1 + dice.Below(sizes);
    row.client = dice.Percent(50) ? 0 : dice.Below(clients);  // Greedy: nobody.
    row.priority = priorities == 1 ? Priority::kNormal : Priority(dice.Below(priorities));
    if (dice.Percent(deadline_percent)) row.deadline_in = microseconds(dice.Below(deadline_us));
    if (dice.Percent(cancel_percent)) row.cancelled_in = microseconds(dice.Below(20'000));
    script.rows.push_back(row);
  }
  return script;
}

// One lane whose queue takes no more than a batch, all rows alike, measured as it is.
inline Script PlainScript(uint64_t seed) {
  Dice dice(seed);
  Script script;
  script.plain = true;
  script.executors = 1 + dice.Below(2);
  script.lanes.push_back(RandomLane(dice, 1));
  ScriptLane& lane = script.lanes[0];
  lane.options.rows_waiting_max = 1 + dice.Below(lane.options.buckets.back());
  lane.options.delay_max = lane.options.regroup_max = {};
  lane.options.executors_max = 0;
  lane.measured_percent = 100;
  microseconds at{0};
  const int gap_us = dice.Of({300, 1'500, 6'000, 20'000});
  for (int i = 10 + dice.Below(40); i > 0; --i) {
    at += microseconds(dice.Below(2 * gap_us));
    ScriptRow row;
    row.at = at;
    script.rows.push_back(row);
  }
  return script;
}

}  // namespace torchd
