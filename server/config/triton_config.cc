#include "server/config/triton_config.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "server/config/text_proto.h"
#include "server/config/triton_batching.h"
#include "server/config/triton_fields.h"
#include "server/config/triton_tensors.h"
#include "server/config/yaml_reader.h"

namespace torchd {
namespace {

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();

// What is read before it is put together: max_batch_size may stand behind the inputs it explains.
struct Draft {
  TritonConfig config;
  int64_t max_batch_size = 0;
  std::vector<TritonTensor> inputs;
  std::vector<TritonTensor> outputs;
};

// --- version_policy. ---

constexpr TextRule<VersionPolicy> kLatestRules[] = {
    {"num_versions", Often::kOnce,
     [](const TextPlace& place, VersionPolicy& policy) {
       int64_t latest = 0;
       TORCHD_RETURN_IF_ERROR(TakeInteger(place, {1, kInt32Max}, latest));
       policy.latest = static_cast<int>(latest);
       return absl::OkStatus();
     }},
};

constexpr TextRule<VersionPolicy> kSpecificRules[] = {
    {"versions", Often::kRepeated,
     [](const TextPlace& place, VersionPolicy& policy) {
       int64_t version = 0;
       TORCHD_RETURN_IF_ERROR(
           TakeInteger(place, {1, std::numeric_limits<int64_t>::max()}, version));
       std::vector<int64_t>& all = policy.specific;
       if (std::find(all.begin(), all.end(), version) != all.end()) return absl::OkStatus();
       if (all.size() == kSpecificVersionsMax) {
         return Wrong(place, absl::StrCat("at most ", kSpecificVersionsMax, " versions"));
       }
       all.push_back(version);
       return absl::OkStatus();
     }},
};

absl::Status TakeLatest(const TextPlace& place, VersionPolicy& policy) {
  policy.kind = VersionPolicy::Kind::kLatest;
  policy.latest = 0;
  TORCHD_RETURN_IF_ERROR(
      TakeMessage(place, absl::Span<const TextRule<VersionPolicy>>(kLatestRules), policy));
  if (policy.latest > 0) return absl::OkStatus();
  return PbtxtError(place.field.line, absl::StrCat(place.path, ".num_versions is missing"));
}

absl::Status TakeSpecific(const TextPlace& place, VersionPolicy& policy) {
  policy.kind = VersionPolicy::Kind::kSpecific;
  TORCHD_RETURN_IF_ERROR(
      TakeMessage(place, absl::Span<const TextRule<VersionPolicy>>(kSpecificRules), policy));
  if (!policy.specific.empty()) return absl::OkStatus();
  return PbtxtError(place.field.line, absl::StrCat(place.path, ".versions is missing"));
}

constexpr TextRule<VersionPolicy> kVersionRules[] = {
    {"latest", Often::kOnce, TakeLatest},
    {"all", Often::kOnce,
     [](const TextPlace& place, VersionPolicy& policy) {
       policy.kind = VersionPolicy::Kind::kAll;
       return TakeMessage(place, absl::Span<const TextRule<VersionPolicy>>(), policy);
     }},
    {"specific", Often::kOnce, TakeSpecific},
};

absl::Status TakeVersionPolicy(const TextPlace& place, Draft& draft) {
  VersionPolicy policy;
  TORCHD_RETURN_IF_ERROR(
      TakeMessage(place, absl::Span<const TextRule<VersionPolicy>>(kVersionRules), policy));
  std::vector<std::string> choices;
  for (const TextField& field : place.field.fields) {
    for (const TextRule<VersionPolicy>& rule : kVersionRules) {
      if (rule.name == field.name) choices.push_back(field.name);
    }
  }
  if (choices.size() > 1) {
    return PbtxtError(place.field.line,
                      absl::StrCat(place.path, " has both ", absl::StrJoin(choices, " and "),
                                   ", expected one of latest, all, specific"));
  }
  if (!choices.empty()) draft.config.model.version_policy = std::move(policy);
  return absl::OkStatus();
}

// --- Scalars and their kin. ---

// "" is the absent one.
absl::Status CheckOneOf(const TextPlace& place, absl::Span<const absl::string_view> expected) {
  std::string value;
  TORCHD_RETURN_IF_ERROR(TakeText(place, value));
  const bool known = std::find(expected.begin(), expected.end(), value) != expected.end();
  if (known || value.empty()) return absl::OkStatus();
  return Wrong(place, absl::StrJoin(expected, " or "));
}

absl::Status TakeMaxBatchSize(const TextPlace& place, Draft& draft) {
  TORCHD_RETURN_IF_ERROR(TakeInteger(place, {0, kInt32Max}, draft.max_batch_size));
  if (draft.max_batch_size > kRowsPerBatchMax) {
    place.not_honoured.Add(
        place.path, place.field.line,
        absl::StrCat(draft.max_batch_size, "; at most ", kRowsPerBatchMax, " rows run together"));
  }
  return absl::OkStatus();
}

absl::Status RefuseDecoupled(const TextPlace& place, Draft& /*draft*/) {
  bool decoupled = false;
  TORCHD_RETURN_IF_ERROR(TakeBool(place, decoupled));
  if (!decoupled) return absl::OkStatus();
  return Wrong(place, "false: a request has one answer");
}

absl::Status RefuseSequences(const TextPlace& place, Draft& /*draft*/) {
  return Wrong(place, "none: torchd keeps no state from one request to the next");
}

absl::Status RefuseEnsemble(const TextPlace& place, Draft& /*draft*/) {
  return Wrong(place, "none: torchd serves models, not ensembles of them");
}

struct Parameter {
  absl::string_view key;
  absl::string_view honoured;  // The value that says what torchd does anyway; "": there is none.
  absl::string_view why_not;
};

constexpr Parameter kParameters[] = {
    {"INFERENCE_MODE", "true", "models always run in inference mode"},
    {"DISABLE_OPTIMIZED_EXECUTION", "false", "models always run optimized"},
    {"NUM_THREADS", "", "see threads_per_executor in torchd's settings"},
    {"INTRA_OP_THREAD_COUNT", "", "see threads_per_executor in torchd's settings"},
};

struct KeyAndValue {
  std::string key;
  std::string value;
};

constexpr TextRule<KeyAndValue> kParameterValueRules[] = {
    {"string_value", Often::kOnce,
     [](const TextPlace& place, KeyAndValue& parameter) {
       if (place.field.kind != TextField::Kind::kString) return Wrong(place, "a string in quotes");
       parameter.value = place.field.text;
       return absl::OkStatus();
     }},
};

constexpr TextRule<KeyAndValue> kParameterRules[] = {
    {"key", Often::kOnce,
     [](const TextPlace& place, KeyAndValue& parameter) { return TakeText(place, parameter.key); }},
    {"value", Often::kOnce,
     [](const TextPlace& place, KeyAndValue& parameter) {
       return TakeMessage(place, absl::Span<const TextRule<KeyAndValue>>(kParameterValueRules),
                          parameter);
     }},
};

absl::Status TakeParameter(const TextPlace& place, Draft& /*draft*/) {
  KeyAndValue parameter;
  TORCHD_RETURN_IF_ERROR(
      TakeMessage(place, absl::Span<const TextRule<KeyAndValue>>(kParameterRules), parameter));
  absl::string_view why_not = "not a parameter that torchd knows";
  for (const Parameter& known : kParameters) {
    if (known.key != parameter.key) continue;
    if (!known.honoured.empty() && known.honoured == parameter.value) return absl::OkStatus();
    why_not = known.why_not;
  }
  place.not_honoured.Add(absl::StrCat("parameters[", Quoted(parameter.key), "]"), place.field.line,
                         why_not);
  return absl::OkStatus();
}

// --- The messages of which no field is honoured, or few. ---

constexpr TextRule<Draft> kTransactionRules[] = {
    {"decoupled", Often::kOnce, RefuseDecoupled},
};

constexpr TextRule<Draft> kResponseCacheRules[] = {
    {"enable", Often::kOnce, nullptr, "answers are not cached"},
};

constexpr absl::string_view kSetByDaemon = "torchd decides by its own settings";

constexpr TextRule<Draft> kModelRules[] = {
    {"name", Often::kOnce,
     [](const TextPlace& place, Draft& draft) { return TakeText(place, draft.config.name); }},
    {"platform", Often::kOnce,
     [](const TextPlace& place, Draft& /*draft*/) {
       return CheckOneOf(place, {"pytorch_libtorch", "pytorch", "torch_aoti"});
     }},
    {"backend", Often::kOnce,
     [](const TextPlace& place, Draft& /*draft*/) {
       return CheckOneOf(place, {"pytorch", "pytorch_libtorch"});
     }},
    {"max_batch_size", Often::kOnce, TakeMaxBatchSize},
    {"input", Often::kRepeated,
     [](const TextPlace& place, Draft& draft) { return TakeInput(place, draft.inputs); }},
    {"output", Often::kRepeated,
     [](const TextPlace& place, Draft& draft) { return TakeOutput(place, draft.outputs); }},
    {"version_policy", Often::kOnce, TakeVersionPolicy},
    {"default_model_filename", Often::kOnce,
     [](const TextPlace& place, Draft& draft) {
       return TakeFileName(place, draft.config.default_model_filename);
     }},
    {"dynamic_batching", Often::kOnce,
     [](const TextPlace& place, Draft& draft) {
       return TakeDynamicBatching(place, draft.config.model);
     }},
    {"model_transaction_policy", Often::kOnce,
     [](const TextPlace& place, Draft& draft) {
       return TakeMessage(place, absl::Span<const TextRule<Draft>>(kTransactionRules), draft);
     }},
    {"response_cache", Often::kOnce,
     [](const TextPlace& place, Draft& draft) {
       return TakeMessage(place, absl::Span<const TextRule<Draft>>(kResponseCacheRules), draft);
     }},
    {"parameters", Often::kRepeated, TakeParameter},
    {"sequence_batching", Often::kOnce, RefuseSequences},
    {"ensemble_scheduling", Often::kOnce, RefuseEnsemble},
    {"instance_group", Often::kRepeated, nullptr,
     "executors belong to the device: see cpu_executors in torchd's settings and "
     "queue.executors_max in model.yaml"},
    {"model_warmup", Often::kRepeated, nullptr,
     "torchd makes its own requests; see warmup_runs in its settings"},
    {"optimization", Often::kOnce, nullptr, kSetByDaemon},
    {"runtime", Often::kOnce, nullptr, "the model's file decides how it runs"},
    {"batch_input", Often::kRepeated, nullptr, "the model gets its declared inputs only"},
    {"batch_output", Often::kRepeated, nullptr, "a row's answer is its row of each output"},
    {"cc_model_filenames", Often::kRepeated, nullptr, "every device runs the same file"},
    {"metric_tags", Often::kRepeated, nullptr, "metrics have their own labels"},
    {"model_metrics", Often::kOnce, nullptr, "metrics have their own buckets"},
    {"model_operations", Often::kOnce, nullptr, "no library of operators is loaded"},
    {"model_repository_agents", Often::kOnce, nullptr, "the repository is read as it lies there"},
};

absl::StatusOr<TritonConfig> PutTogether(Draft draft, NotHonoured& not_honoured) {
  TritonConfig& config = draft.config;
  // Triton's 0 is a promise that requests are never put together.
  const bool batches = draft.max_batch_size > 0;
  config.model.rows_per_batch_max =
      batches ? static_cast<int>(std::min<int64_t>(draft.max_batch_size, kRowsPerBatchMax)) : 1;
  config.inputs_have_indices = !draft.inputs.empty() && HaveIndices(draft.inputs);
  TORCHD_ASSIGN_OR_RETURN(config.model.inputs,
                          InputsOf(std::move(draft.inputs), !batches, not_honoured));
  TORCHD_RETURN_IF_ERROR(
      TakeOutputsOver(std::move(draft.outputs), !batches, not_honoured, config.model));
  config.not_honoured = not_honoured.TakeLines();
  return std::move(config);
}

}  // namespace

absl::StatusOr<TritonConfig> ParseTritonConfig(const std::string& text) {
  TORCHD_ASSIGN_OR_RETURN(const TextField root, ParseTextProto("config.pbtxt", text));
  NotHonoured not_honoured;
  Draft draft;
  TORCHD_RETURN_IF_ERROR(
      TakeMessage({root, "", not_honoured}, absl::Span<const TextRule<Draft>>(kModelRules), draft));
  return PutTogether(std::move(draft), not_honoured);
}

}  // namespace torchd
