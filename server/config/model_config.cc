#include "server/config/model_config.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/base/status_macros.h"
#include "server/config/names.h"
#include "server/config/prepare_fields.h"
#include "server/config/yaml_fields.h"
#include "server/config/yaml_reader.h"

namespace torchd {
namespace {

absl::Status ReadShape(const YamlPlace& place, std::vector<int64_t>& target) {
  if (!IsList(place.node) || place.node.items.size() > kDimensionsMax) {
    return Wrong(place, absl::StrCat("a list of at most ", kDimensionsMax,
                                     " sizes, without the batch dimension"));
  }
  target.clear();
  int64_t elements = 1;
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    const YamlPlace item = {place.node.items[i], absl::StrCat(place.path, "[", i, "]")};
    int64_t size = 0;
    if (!IsScalar(item.node) || !absl::SimpleAtoi(item.node.text, &size) ||
        (size < 1 && size != -1)) {
      return Wrong(item, "a whole number of at least 1, or -1 for any size");
    }
    target.push_back(size);
    if (size == -1) continue;
    if (size > kElementsMax / elements) {
      return Wrong(item, absl::StrCat("a shape of at most ", kElementsMax, " elements in all"));
    }
    elements *= size;
  }
  return absl::OkStatus();
}

// --- What model.yaml holds. ---

absl::Status ReadDataType(const YamlPlace& place, std::string& target) {
  using Entry = std::pair<absl::string_view, std::string>;
  const std::array<Entry, 4> known = {Entry{"uint8", "uint8"}, Entry{"int32", "int32"},
                                      Entry{"int64", "int64"}, Entry{"float32", "float32"}};
  return ReadOneOf(place, known, target);
}

constexpr YamlField<TensorConfig> kTensorFields[] = {
    {"name",
     [](const YamlPlace& place, TensorConfig& input) { return ReadText(place, input.name); }},
    {"data_type", [](const YamlPlace& place,
                     TensorConfig& input) { return ReadDataType(place, input.data_type); }},
    {"shape",
     [](const YamlPlace& place, TensorConfig& input) { return ReadShape(place, input.shape); }},
};

absl::Status ReadInput(const YamlPlace& place, TensorConfig& input) {
  TORCHD_RETURN_IF_ERROR(
      ReadMapping(place, absl::Span<const YamlField<TensorConfig>>(kTensorFields), input));
  for (const YamlField<TensorConfig>& field : kTensorFields) {
    if (place.node.Find(field.key) == nullptr) {
      return ModelYamlError(place.node, absl::StrCat(place.path, ".", field.key, " is missing"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadInputs(const YamlPlace& place, std::vector<TensorConfig>& inputs) {
  if (!IsList(place.node) || place.node.items.size() > kInputsMax) {
    return Wrong(place, absl::StrCat("a list of at most ", kInputsMax, " inputs"));
  }
  std::set<std::string> names;
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    const YamlPlace item = {place.node.items[i], absl::StrCat(place.path, "[", i, "]")};
    TensorConfig input;
    TORCHD_RETURN_IF_ERROR(ReadInput(item, input));
    if (!names.insert(input.name).second) {
      return Wrong({*item.node.Find("name"), item.path + ".name"},
                   "a name that no other input has");
    }
    inputs.push_back(std::move(input));
  }
  return absl::OkStatus();
}

// --- The queue. ---

constexpr YamlField<QueueConfig> kQueueFields[] = {
    {"rows_waiting_max",
     [](const YamlPlace& place, QueueConfig& queue) {
       return ReadInt(place, {1, kRowsWaitingMax}, queue.rows_waiting_max);
     }},
    {"delay_us_max",
     [](const YamlPlace& place, QueueConfig& queue) {
       return ReadInt(place, {0, kDelayUsMax}, queue.delay_us_max);
     }},
    {"regroup_us_max",
     [](const YamlPlace& place, QueueConfig& queue) {
       return ReadInt(place, {0, kDelayUsMax}, queue.regroup_us_max);
     }},
    {"executors_max",
     [](const YamlPlace& place, QueueConfig& queue) {
       return ReadInt(place, {1, 64}, queue.executors_max);
     }},
    {"ageing_ms",
     [](const YamlPlace& place, QueueConfig& queue) {
       return ReadInt(place, {0, 600'000}, queue.ageing_ms);
     }},
};

absl::Status ReadNonFinite(const YamlPlace& place, NonFinite& target) {
  using Entry = std::pair<absl::string_view, NonFinite>;
  constexpr std::array<Entry, 2> kKnown = {Entry{"error", NonFinite::kError},
                                           Entry{"flag", NonFinite::kFlag}};
  return ReadOneOf(place, kKnown, target);
}

absl::Status ReadActivation(const YamlPlace& place, Activation& target) {
  using Entry = std::pair<absl::string_view, Activation>;
  constexpr std::array<Entry, 3> kKnown = {Entry{"softmax", Activation::kSoftmax},
                                           Entry{"sigmoid", Activation::kSigmoid},
                                           Entry{"none", Activation::kNone}};
  return ReadOneOf(place, kKnown, target);
}

absl::Status ReadThreshold(const YamlPlace& place, float& target) {
  const bool read = IsScalar(place.node) && absl::SimpleAtof(place.node.text, &target);
  return read && std::isfinite(target) ? absl::OkStatus() : Wrong(place, "a finite number");
}

// --- Plans. ---

constexpr std::array kPlansByName = {
    std::pair<absl::string_view, Plan>{"saved", Plan::kSaved},
    std::pair<absl::string_view, Plan>{"frozen", Plan::kFrozen},
    std::pair<absl::string_view, Plan>{"onednn", Plan::kOneDnn},
    std::pair<absl::string_view, Plan>{"channels_last", Plan::kChannelsLast},
    std::pair<absl::string_view, Plan>{"graph", Plan::kGraph},
    std::pair<absl::string_view, Plan>{"direct", Plan::kDirect},
    std::pair<absl::string_view, Plan>{"bf16", Plan::kBf16},
    std::pair<absl::string_view, Plan>{"fp16", Plan::kFp16},
    std::pair<absl::string_view, Plan>{"int8", Plan::kInt8},
    std::pair<absl::string_view, Plan>{"package", Plan::kPackage},
};

absl::Status ReadPlan(const YamlPlace& place, ModelConfig& config) {
  if (place.node.text == "auto" || place.node.text == "fast_start") {
    config.fast_start = place.node.text == "fast_start";
    return absl::OkStatus();
  }
  return ReadOneOf(place, kPlansByName, config.plan.emplace());
}

absl::Status ReadForbidden(const YamlPlace& place, std::set<Plan>& forbidden) {
  if (!IsList(place.node)) return Wrong(place, "a list of plans");
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    const YamlNode& item = place.node.items[i];
    const YamlPlace at{item, absl::StrCat(place.path, "[", i, "]"), item.line};
    Plan plan = kDefaultPlan;
    TORCHD_RETURN_IF_ERROR(ReadOneOf(at, kPlansByName, plan));
    if (plan == kDefaultPlan) return Wrong(at, "another than 'frozen', with which all compare");
    forbidden.insert(plan);
  }
  return absl::OkStatus();
}

absl::Status ReadDifference(const YamlPlace& place, double& target) {
  const bool read = IsScalar(place.node) && absl::SimpleAtod(place.node.text, &target);
  return read && target > 0 && target <= 1 ? absl::OkStatus()
                                           : Wrong(place, "a number above 0, at most 1");
}

// --- Versions. ---

absl::Status ReadSpecific(const YamlPlace& place, std::vector<int64_t>& specific) {
  if (!IsList(place.node) || place.node.items.empty() ||
      place.node.items.size() > kSpecificVersionsMax) {
    return Wrong(place, absl::StrCat("a list of 1..", kSpecificVersionsMax, " versions"));
  }
  std::set<int64_t> seen;
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    const YamlPlace item = {place.node.items[i], absl::StrCat(place.path, "[", i, "]")};
    int64_t version = 0;
    TORCHD_RETURN_IF_ERROR(ReadVersion(item, version));
    if (!seen.insert(version).second) return Wrong(item, "a version that is not listed before");
    specific.push_back(version);
  }
  return absl::OkStatus();
}

constexpr YamlField<VersionPolicy> kVersionFields[] = {
    {"latest",
     [](const YamlPlace& place, VersionPolicy& policy) {
       policy.kind = VersionPolicy::Kind::kLatest;
       return ReadInt(place, {1, kLatestVersionsMax}, policy.latest);
     }},
    {"all",
     [](const YamlPlace& place, VersionPolicy& policy) {
       policy.kind = VersionPolicy::Kind::kAll;
       const bool is_true = IsScalar(place.node) && place.node.text == "true";
       return is_true ? absl::OkStatus() : Wrong(place, "true");
     }},
    {"specific",
     [](const YamlPlace& place, VersionPolicy& policy) {
       policy.kind = VersionPolicy::Kind::kSpecific;
       return ReadSpecific(place, policy.specific);
     }},
};

absl::Status ReadVersions(const YamlPlace& place, ModelConfig& config) {
  TORCHD_RETURN_IF_ERROR(ReadMapping(place,
                                     absl::Span<const YamlField<VersionPolicy>>(kVersionFields),
                                     config.version_policy.emplace()));
  if (place.node.items.size() == 1) return absl::OkStatus();
  return ModelYamlError(place.line,
                        absl::StrCat(place.path, " has ", place.node.items.size(),
                                     " keys, expected exactly one of latest, all, specific"));
}

absl::Status ReadVersionLabels(const YamlPlace& place, std::map<std::string, int64_t>& labels) {
  if (!IsMapping(place.node) || place.node.items.size() > kVersionLabelsMax) {
    return Wrong(place, absl::StrCat("a mapping of at most ", kVersionLabelsMax,
                                     " labels, each to a version"));
  }
  for (size_t i = 0; i < place.node.items.size(); ++i) {
    const YamlNode& key = place.node.keys[i];
    if (!IsScalar(key) || !IsName(key.text)) {
      return ModelYamlError(
          key, absl::StrCat(place.path, " has the label ", Describe(key),
                            ", expected a letter, digit or '_', then up to 127 letters, "
                            "digits, '_', '.' or '-'"));
    }
    const std::string path = absl::StrCat(place.path, ".", key.text);
    if (labels.count(key.text) > 0) return ModelYamlError(key, absl::StrCat(path, " is set twice"));
    TORCHD_RETURN_IF_ERROR(ReadVersion({place.node.items[i], path, key.line}, labels[key.text]));
  }
  return absl::OkStatus();
}

constexpr YamlField<ModelConfig> kModelFields[] = {
    {"inputs",
     [](const YamlPlace& place, ModelConfig& config) { return ReadInputs(place, config.inputs); }},
    {"labels", [](const YamlPlace& place,
                  ModelConfig& config) { return ReadFileName(place, config.labels); }},
    {"softmax",
     [](const YamlPlace& place, ModelConfig& config) {
       bool softmax = true;
       TORCHD_RETURN_IF_ERROR(ReadBool(place, softmax));
       config.activation = softmax ? Activation::kSoftmax : Activation::kNone;
       return absl::OkStatus();
     }},
    {"activation", [](const YamlPlace& place,
                      ModelConfig& config) { return ReadActivation(place, config.activation); }},
    {"threshold",
     [](const YamlPlace& place, ModelConfig& config) {
       return ReadThreshold(place, config.threshold.emplace());
     }},
    {"image", [](const YamlPlace& place,
                 ModelConfig& config) { return ReadImage(place, config.image.emplace()); }},
    {"text", [](const YamlPlace& place,
                ModelConfig& config) { return ReadText(place, config.text.emplace()); }},
    {"rows_per_batch_max",
     [](const YamlPlace& place, ModelConfig& config) {
       return ReadInt(place, {1, kRowsPerBatchMax}, config.rows_per_batch_max);
     }},
    {"queue",
     [](const YamlPlace& place, ModelConfig& config) {
       return ReadMapping(place, absl::Span<const YamlField<QueueConfig>>(kQueueFields),
                          config.queue);
     }},
    {"timeout_ms",
     [](const YamlPlace& place, ModelConfig& config) {
       return ReadInt(place, {0, kTimeoutMsMax}, config.timeout_ms);
     }},
    {"non_finite", [](const YamlPlace& place,
                      ModelConfig& config) { return ReadNonFinite(place, config.non_finite); }},
    {"plan", [](const YamlPlace& place, ModelConfig& config) { return ReadPlan(place, config); }},
    {"plans_forbidden",
     [](const YamlPlace& place, ModelConfig& config) {
       return ReadForbidden(place, config.plans_forbidden);
     }},
    {"plan_difference_max",
     [](const YamlPlace& place, ModelConfig& config) {
       return ReadDifference(place, config.plan_difference_max);
     }},
    {"plan_threads",
     [](const YamlPlace& place, ModelConfig& config) {
       return ReadInt(place, {1, kPlanThreadsMax}, config.plan_threads);
     }},
    {"versions",
     [](const YamlPlace& place, ModelConfig& config) { return ReadVersions(place, config); }},
    {"version_labels",
     [](const YamlPlace& place, ModelConfig& config) {
       return ReadVersionLabels(place, config.version_labels);
     }},
};

absl::StatusOr<ModelConfig> ReadModel(const YamlNode& root) {
  ModelConfig config;
  if (root.kind == YamlNode::Kind::kEmpty) return config;  // Empty, or comments only.
  if (!IsMapping(root)) return ModelYamlError(root, "expected lines of `key: value`");
  TORCHD_RETURN_IF_ERROR(
      ReadMapping({root, ""}, absl::Span<const YamlField<ModelConfig>>(kModelFields), config));
  if (root.Find("softmax") != nullptr && root.Find("activation") != nullptr) {
    return ModelYamlError(root,
                          "both softmax and activation are set, expected at most one of them");
  }
  if (config.image && config.text) {
    return ModelYamlError(root, "both image and text are set, expected at most one of them");
  }
  if (config.plan == Plan::kPackage && config.plan_threads > 0) {
    return ModelYamlError(root,
                          "both plan_threads and plan: package are set; a package has its own");
  }
  if (config.plan && config.plans_forbidden.count(*config.plan) > 0) {
    return ModelYamlError(*root.Find("plans_forbidden"),
                          absl::StrCat("plans_forbidden has ", Name(*config.plan), ", and plan is ",
                                       Name(*config.plan), "; expected another for one of them"));
  }
  return config;
}

}  // namespace

absl::StatusOr<ModelConfig> ParseModelConfig(const std::string& yaml) {
  TORCHD_ASSIGN_OR_RETURN(const YamlNode root, ParseYaml("model.yaml", yaml));
  return ReadModel(root);
}

}  // namespace torchd
