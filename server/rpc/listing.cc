#include "server/rpc/listing.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/clock.h"
#include "server/classify/input_facts.h"
#include "server/config/model_config.h"

namespace torchd {
namespace {

v1::VersionState ToWire(VersionState state) {
  switch (state) {
    case VersionState::kUnknown:
      return v1::VERSION_STATE_UNKNOWN;
    case VersionState::kLoading:
      return v1::VERSION_STATE_LOADING;
    case VersionState::kReady:
      return v1::VERSION_STATE_READY;
    case VersionState::kUnloading:
      return v1::VERSION_STATE_UNLOADING;
    case VersionState::kUnavailable:
      return v1::VERSION_STATE_UNAVAILABLE;
  }
  return v1::VERSION_STATE_UNKNOWN;
}

v1::NonFinitePolicy ToWire(NonFinite policy) {
  switch (policy) {
    case NonFinite::kError:
      return v1::NON_FINITE_POLICY_ERROR;
    case NonFinite::kFlag:
      return v1::NON_FINITE_POLICY_FLAG;
  }
  return v1::NON_FINITE_POLICY_UNSPECIFIED;
}

void ToWire(const TensorSpec& spec, v1::TensorDescription& wire) {
  wire.set_name(spec.name);
  wire.set_data_type(Name(spec.type));
  wire.mutable_shape()->Add(spec.shape.begin(), spec.shape.end());
}

void ToWire(const CostTable::Cost& cost, v1::RunCost& wire) {
  wire.mutable_open_sizes()->Add(cost.shape.begin(), cost.shape.end());
  wire.set_bucket(cost.bucket);
  wire.set_mean_us(Microseconds(cost.mean));
  wire.set_runs(cost.runs);
}

void ToWire(const Servable& servable, v1::Scheduling& wire) {
  const Lane& lane = *servable.lane;
  const ModelConfig& config = servable.config;
  const LaneOptions& options = lane.options;
  wire.set_rows_per_batch_max(lane.rows_max());
  wire.mutable_buckets()->Add(options.buckets.begin(), options.buckets.end());
  wire.set_rows_waiting_max(options.rows_waiting_max);
  wire.set_delay_us_max(Microseconds(options.delay_max));
  wire.set_regroup_us_max(Microseconds(options.regroup_max));
  wire.set_executors_max(options.executors_max);
  wire.set_ageing_ms(Microseconds(options.ageing) / 1000);
  wire.set_timeout_ms(config.timeout_ms);
  wire.set_non_finite(ToWire(config.non_finite));
  for (const int length : servable.preprocessor.lengths()) wire.add_text_lengths(length);
  wire.set_note(options.note);
  for (const CostTable::Cost& cost : lane.costs.Costs()) ToWire(cost, *wire.add_costs());
}

void ToWire(const Model& model, const PlanChoice& choice, v1::PlanReport& wire) {
  wire.set_plan(Name(model.plan()));
  wire.set_threads(model.threads());
  wire.set_why(model.fallbacks() == 0 ? choice.why
                                      : absl::StrCat("'", Name(choice.plan), "' (", choice.why,
                                                     ") failed: ", model.fallback_reason()));
  wire.set_fallbacks(model.fallbacks());
  wire.set_searching(choice.searching);
  for (const PlanCandidate& candidate : choice.candidates) {
    v1::PlanCandidate& added = *wire.add_candidates();
    added.set_plan(Name(candidate.plan));
    added.set_threads(candidate.threads);
    added.set_state(Name(candidate.state));
    added.set_run_us(Microseconds(candidate.run));
    added.set_ratio(candidate.ratio);
    added.set_difference(candidate.difference);
    added.set_reason(candidate.reason);
  }
}

void ToWire(const ImageFacts& facts, v1::ImageInput& wire) {
  wire.mutable_formats()->Add(facts.formats.begin(), facts.formats.end());
  wire.set_preset(facts.preset);
  wire.set_resize(facts.resize);
  wire.set_crop(facts.crop);
  wire.set_filter(facts.filter);
  wire.set_antialias(facts.antialias);
  wire.set_layout(facts.layout);
  wire.set_data_type(facts.data_type);
  if (facts.scale) wire.set_scale(*facts.scale);
  wire.mutable_mean()->Add(facts.mean.begin(), facts.mean.end());
  wire.mutable_std()->Add(facts.std.begin(), facts.std.end());
}

void ToWire(const TextFacts& facts, v1::TextInput& wire) {
  wire.set_tokens_max(facts.tokens_max);
  wire.mutable_lengths()->Add(facts.lengths.begin(), facts.lengths.end());
  wire.set_lowercase(facts.lowercase);
  wire.set_bytes_max(facts.bytes_max);
}

}  // namespace

void ToWire(const VersionStatus& status, int rows_waiting, v1::ModelVersion& wire) {
  wire.set_name(status.name);
  wire.set_version(status.version);
  wire.set_state(ToWire(status.state));
  wire.set_reason(status.reason);
  for (const std::string& label : status.labels) wire.add_version_labels(label);
  for (const std::string& note : status.notes) wire.add_notes(note);
  if (status.servable == nullptr) return;
  const Servable& servable = *status.servable;
  const ModelSignature& signature = servable.model->signature();
  for (const TensorSpec& input : signature.inputs) ToWire(input, *wire.add_inputs());
  for (const TensorSpec& output : signature.outputs) ToWire(output, *wire.add_outputs());
  for (const std::string& kind : Takes(servable)) wire.add_takes(kind);
  const Preprocessor& preprocessor = servable.preprocessor;
  if (servable.config.image) ToWire(FactsOf(*servable.config.image), *wire.mutable_image());
  if (preprocessor.takes_text()) ToWire(TextFactsOf(preprocessor), *wire.mutable_text());
  wire.set_activation(Name(servable.config.activation));
  if (servable.config.threshold) wire.set_threshold(*servable.config.threshold);
  wire.set_labels(static_cast<int>(servable.labels.size()));
  wire.set_memory_bytes(servable.memory.bytes());
  wire.set_load_ms(Microseconds(status.load_time) / 1000);
  for (const std::string& note : servable.notes) wire.add_notes(note);
  ToWire(servable, *wire.mutable_scheduling());
  wire.mutable_scheduling()->set_rows_waiting(rows_waiting);
  ToWire(*servable.model, status.plan, *wire.mutable_plan());
}

}  // namespace torchd
