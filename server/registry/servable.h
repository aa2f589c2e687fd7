// A loaded version, ready to answer, and the handle that keeps it alive while a request uses it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "server/batching/lane.h"
#include "server/config/model_config.h"
#include "server/inference/model.h"
#include "server/metrics/server_metrics.h"
#include "server/preprocessing/preprocessor.h"
#include "server/registry/memory_budget.h"
#include "server/registry/repository.h"

namespace torchd {

struct Servable {
  std::string name;
  int64_t version = 0;
  ModelConfig config;
  std::vector<std::string> labels;  // By class; may be empty.
  std::unique_ptr<Model> model;
  std::unique_ptr<Lane> lane;  // Of the model: how its rows wait and run.
  Preprocessor preprocessor;
  ModelMetrics& metrics;
  MemoryBudget::Lease memory = {};
  PlanChoice plan = {};
  std::vector<std::string> notes = {};  // What its owner should know of this version.
  VersionFolder folder = {};            // Where it was loaded from.
};

using ModelHandle = std::shared_ptr<const Servable>;

// "image", "text", "tensor": what Classify takes for this model.
std::vector<std::string> Takes(const Servable& servable);

}  // namespace torchd
