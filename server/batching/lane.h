// How the rows of one loaded model wait and run: its limits, and what its runs cost.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/base/clock.h"
#include "server/batching/cost_table.h"
#include "server/batching/returns.h"
#include "server/inference/model.h"

namespace torchd {

struct LaneOptions {
  std::vector<int> buckets = {1};  // Rows of one run, ascending; the last is the most.
  int rows_waiting_max = 256;      // More are refused.
  Duration delay_max{0};           // How long an idle executor may wait for company for a row.
  Duration regroup_max{0};         // And after a run, for those it answered to come back.
  int executors_max = 0;           // That run it at the same time; 0: all.
  Duration ageing = std::chrono::seconds(1);  // A row overtakes newer ones a priority above it.
  std::string note;                           // What the model's owner should know of its runs.
};

// Thread-safety: options are constant, costs as CostTable says, the rest is its scheduler's.
// Borrows the model.
struct Lane {
  Lane(Model& served, LaneOptions made_options)
      : model(served),
        options(std::move(made_options)),
        costs(options.buckets),
        returns(std::make_shared<Returns>(options.regroup_max)) {}

  int rows_max() const { return options.buckets.back(); }

  Model& model;
  const LaneOptions options;
  CostTable costs;
  const std::shared_ptr<Returns> returns;  // The scheduler notes a run's end when this may be gone.
  int untried = 0;                         // Times that all its rows seemed too late, and none ran.
};

// The sizes that the model leaves open, as this row has them. Only rows of one class share a run.
ShapeClass ShapeClassOf(const ModelSignature& signature, const RowInputs& row);

}  // namespace torchd
