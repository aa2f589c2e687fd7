#include "server/benchmark/spec.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/status_macros.h"
#include "server/config/model_config.h"
#include "server/inference/open_sizes.h"

namespace torchd {
namespace {

constexpr size_t kShownMax = 64;

// A client's text in our message: bounded, and nothing that could confuse a log.
std::string Shown(const std::string& text) { return absl::CHexEscape(text.substr(0, kShownMax)); }

absl::Status InRange(absl::string_view name, int64_t value, int64_t least, int64_t most,
                     absl::string_view unit = "") {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": got ", value, ", expected ", least, " to ", most, unit));
}

// `said` becomes the input's shape.
absl::Status TakeShape(const ModelConfig& config, const Shape& said, TensorSpec& input) {
  const bool fits =
      std::equal(said.begin(), said.end(), input.shape.begin(), input.shape.end(),
                 [](int64_t given, int64_t want) { return want < 0 || given == want; });
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat(
        "input '", input.name, "': got shape ",
        ShapeText({said.begin(), said.begin() + static_cast<std::ptrdiff_t>(
                                                    std::min(said.size(), kDimensionsMax + 1))}),
        ", the model takes ", ShapeText(input.shape), " for a row (-1: any size)"));
  }
  for (size_t i = 0; i < said.size(); ++i) {
    if (input.shape[i] < 0) TORCHD_RETURN_IF_ERROR(CheckOpenSize(config, input, said[i]));
  }
  input.shape = said;
  return absl::OkStatus();
}

absl::Status TakeShapes(const BenchmarkSpec& spec, const Servable& servable,
                        std::vector<TensorSpec>& inputs) {
  for (const BenchmarkSpec::InputShape& said : spec.shapes) {
    const bool only = said.name.empty() && inputs.size() == 1;
    const auto input = std::find_if(inputs.begin(), inputs.end(), [&](const TensorSpec& one) {
      return only || one.name == said.name;
    });
    if (input == inputs.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("shapes: model '", servable.name, "' has no input '", Shown(said.name),
                       "'; expected ", InputsText(servable.model->signature().inputs)));
    }
    TORCHD_RETURN_IF_ERROR(TakeShape(servable.config, said.shape, *input));
  }
  return absl::OkStatus();
}

// Texts have one length: where one is said for an input, it is that of the others. None: nothing
// that was said says more.
absl::StatusOr<std::optional<int64_t>> SaidLength(const std::vector<TensorSpec>& declared,
                                                  const std::vector<TensorSpec>& inputs) {
  std::set<int64_t> said;
  std::string left;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (IsPicture(declared[i])) continue;  // Its sizes are no lengths.
    if (HasOpenSize(inputs[i])) left = InputsText({inputs[i]});
    for (size_t at = 0; at < inputs[i].shape.size(); ++at) {
      const bool filled = declared[i].shape[at] < 0 && inputs[i].shape[at] >= 0;
      if (filled) said.insert(inputs[i].shape[at]);
    }
  }
  if (said.empty() || left.empty()) return std::nullopt;
  if (said.size() == 1) return *said.begin();
  return absl::InvalidArgumentError(
      absl::StrCat("shapes: got the sizes ", absl::StrJoin(said, ", "),
                   "; expected a shape for input ", left, " as well, or a length"));
}

}  // namespace

absl::Status CheckNumbers(const BenchmarkSpec& spec, const Servable& servable, int executors) {
  TORCHD_RETURN_IF_ERROR(InRange("batch_size", spec.batch_size, 1, kRowsPerBatchMax));
  TORCHD_RETURN_IF_ERROR(InRange("warm_up", spec.warm_up, 0, kBenchmarkWarmUpMax));
  if (spec.repeats && spec.duration) {
    return absl::InvalidArgumentError("got both repeats and duration_ms, expected one of them");
  }
  if (spec.repeats) {
    TORCHD_RETURN_IF_ERROR(InRange("repeats", *spec.repeats, 1, kBenchmarkRepeatsMax));
  }
  if (spec.duration) {
    TORCHD_RETURN_IF_ERROR(InRange("duration_ms", Microseconds(*spec.duration) / 1000,
                                   Microseconds(kBenchmarkDurationMin) / 1000,
                                   Microseconds(kBenchmarkDurationMax) / 1000, " (10 minutes)"));
  }
  const int allowed = servable.config.queue.executors_max;
  if (allowed > 0 && allowed < executors) {
    return InRange("concurrency", spec.concurrency, 1, allowed,
                   " (queue.executors_max of the model)");
  }
  return InRange("concurrency", spec.concurrency, 1, executors, " (the executors there are)");
}

absl::StatusOr<std::vector<TensorSpec>> InputsOf(const BenchmarkSpec& spec,
                                                 const Servable& servable) {
  const std::vector<TensorSpec>& declared = servable.model->signature().inputs;
  std::vector<TensorSpec> inputs = declared;
  TORCHD_RETURN_IF_ERROR(TakeShapes(spec, servable, inputs));
  const std::string model = absl::StrCat("model '", servable.name, "'");
  std::optional<int64_t> usual;
  if (!spec.length) {
    TORCHD_ASSIGN_OR_RETURN(usual, SaidLength(declared, inputs));
  }
  TORCHD_RETURN_IF_ERROR(FillOpenSizes(model, servable.config, spec.length, inputs, usual));
  TORCHD_RETURN_IF_ERROR(CheckRunBytes(spec.batch_size, inputs));
  return inputs;
}

absl::StatusOr<std::optional<Plan>> PlanToLoad(const BenchmarkSpec& spec,
                                               const Servable& servable) {
  if (spec.plan.empty()) return std::nullopt;
  const Plan serving = servable.model->plan();
  const std::optional<Plan> plan = PlanByName(spec.plan);
  if (!plan) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan: got '", Shown(spec.plan), "', expected ", PlanNames()));
  }
  if (*plan == serving) return std::nullopt;
  const bool script = !servable.folder.model_file.empty() || serving != Plan::kPackage;
  const bool package = !servable.folder.package_file.empty();
  if ((*plan == Plan::kPackage && !package) || !script) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan: model '", servable.name, "' is ",
                     script ? "TorchScript without a model.pt2, which has no plan 'package'"
                            : "a package, whose only plan is 'package'"));
  }
  if (servable.config.plans_forbidden.count(*plan) > 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("plan: '", spec.plan, "' is forbidden by the configuration of model '",
                     servable.name, "' (plans_forbidden)"));
  }
  return plan;
}

}  // namespace torchd
