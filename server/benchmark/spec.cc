#include "server/benchmark/spec.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/base/status_macros.h"
#include "server/config/model_config.h"
#include "server/inference/trial_row.h"

namespace torchd {
namespace {

constexpr int64_t kUsualTokens = 128;
constexpr size_t kShownMax = 64;

// A client's text in our message: bounded, and nothing that could confuse a log.
std::string Shown(const std::string& text) { return absl::CHexEscape(text.substr(0, kShownMax)); }

absl::Status InRange(absl::string_view name, int64_t value, int64_t least, int64_t most,
                     absl::string_view unit = "") {
  if (value >= least && value <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": got ", value, ", expected ", least, " to ", most, unit));
}

bool IsOpen(const TensorSpec& input) {
  return std::any_of(input.shape.begin(), input.shape.end(), [](int64_t size) { return size < 0; });
}

// "ids int64[-1], mask int64[-1]"
std::string InputsText(const std::vector<TensorSpec>& inputs) {
  return absl::StrJoin(inputs, ", ", [](std::string* text, const TensorSpec& input) {
    absl::StrAppend(text, input.name, " ", Name(input.type), ShapeText(input.shape));
  });
}

int64_t UsualLength(const ModelConfig& config) {
  return config.text ? std::min<int64_t>(kUsualTokens, config.text->tokens_max) : kTrialLength;
}

absl::Status CheckOpenSize(const ModelConfig& config, const TensorSpec& input, int64_t size) {
  const int64_t most = config.text ? config.text->tokens_max : kElementsMax;
  if (size >= 1 && size <= most) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("input '", input.name, "': got a size of ", size, ", expected 1 to ", most,
                   config.text ? " (text.tokens_max of the model)" : ""));
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

absl::Status TakeLength(const BenchmarkSpec& spec, const Servable& servable,
                        std::vector<TensorSpec>& inputs) {
  if (spec.length && std::none_of(inputs.begin(), inputs.end(), IsOpen)) {
    return absl::InvalidArgumentError(absl::StrCat("length: got ", *spec.length, ", but model '",
                                                   servable.name,
                                                   "' leaves no size open: ", InputsText(inputs)));
  }
  const int64_t length = spec.length.value_or(UsualLength(servable.config));
  for (TensorSpec& input : inputs) {
    if (!IsOpen(input)) continue;
    if (spec.length) TORCHD_RETURN_IF_ERROR(CheckOpenSize(servable.config, input, length));
    const bool picture = input.type == DataType::kFloat32 && input.shape.size() == 3;
    const int64_t size = picture && !spec.length ? kTrialSide : length;
    std::replace_if(
        input.shape.begin(), input.shape.end(), [](int64_t one) { return one < 0; }, size);
  }
  return absl::OkStatus();
}

absl::Status CheckBytes(int64_t batch_size, const std::vector<TensorSpec>& inputs) {
  int64_t total = 0;
  for (const TensorSpec& input : inputs) {
    Shape shape = input.shape;
    shape.insert(shape.begin(), batch_size);
    const auto bytes = BytesOf(input.type, shape);
    const bool fits = bytes && *bytes <= static_cast<size_t>(kBenchmarkBytesMax);
    total = fits ? total + static_cast<int64_t>(*bytes) : kBenchmarkBytesMax + 1;
    if (total > kBenchmarkBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the inputs of a run, ", batch_size, " times ", InputsText(inputs), ", take more than ",
          kBenchmarkBytesMax, " bytes (256 MiB), the most that a benchmark may"));
    }
  }
  return absl::OkStatus();
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
  std::vector<TensorSpec> inputs = servable.model->signature().inputs;
  TORCHD_RETURN_IF_ERROR(TakeShapes(spec, servable, inputs));
  TORCHD_RETURN_IF_ERROR(TakeLength(spec, servable, inputs));
  TORCHD_RETURN_IF_ERROR(CheckBytes(spec.batch_size, inputs));
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
