#include "server/rpc/benchmark_wire.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/config/model_config.h"

namespace torchd {
namespace {

double WireTime(Duration time) { return std::chrono::duration<double, std::micro>(time).count(); }

v1::BenchmarkProgress::Phase ToWire(BenchmarkProgress::Phase phase) {
  switch (phase) {
    case BenchmarkProgress::Phase::kLoading:
      return v1::BenchmarkProgress::PHASE_LOADING;
    case BenchmarkProgress::Phase::kWarmUp:
      return v1::BenchmarkProgress::PHASE_WARM_UP;
    case BenchmarkProgress::Phase::kMeasuring:
      return v1::BenchmarkProgress::PHASE_MEASURING;
  }
  return v1::BenchmarkProgress::PHASE_UNSPECIFIED;
}

void ToWire(const TimeSummary& times, v1::RunTimes& wire) {
  wire.set_runs(times.count);
  wire.set_min_us(WireTime(times.min));
  wire.set_p50_us(WireTime(times.p50));
  wire.set_p90_us(WireTime(times.p90));
  wire.set_p95_us(WireTime(times.p95));
  wire.set_p99_us(WireTime(times.p99));
  wire.set_max_us(WireTime(times.max));
  wire.set_mean_us(WireTime(times.mean));
  wire.set_stddev_us(WireTime(times.stddev));
  wire.set_median_low_us(WireTime(times.median.low));
  wire.set_median_high_us(WireTime(times.median.high));
  wire.set_median_confidence(times.median.confidence);
}

}  // namespace

absl::StatusOr<BenchmarkSpec> FromWire(const v1::BenchmarkRequest& request) {
  BenchmarkSpec spec;
  spec.model = request.model();
  spec.version = request.version();
  spec.version_label = request.version_label();
  if (request.has_batch_size()) spec.batch_size = request.batch_size();
  if (request.has_length()) spec.length = request.length();
  if (request.has_warm_up()) spec.warm_up = request.warm_up();
  if (request.has_repeats()) spec.repeats = request.repeats();
  if (request.has_duration_ms()) {
    // What is far out of range must not overflow on its way to being refused.
    constexpr int64_t kFarBeyond = int64_t{1} << 40;
    spec.duration =
        std::chrono::milliseconds(std::clamp(request.duration_ms(), -kFarBeyond, kFarBeyond));
  }
  if (request.has_concurrency()) spec.concurrency = request.concurrency();
  spec.plan = request.plan();
  if (request.shapes_size() > static_cast<int>(kInputsMax)) {
    return absl::InvalidArgumentError(
        absl::StrCat("shapes: got ", request.shapes_size(), ", at most ", kInputsMax));
  }
  for (const v1::InputShape& shape : request.shapes()) {
    if (shape.shape_size() > static_cast<int>(kDimensionsMax)) {
      return absl::InvalidArgumentError(
          absl::StrCat("shapes: got ", shape.shape_size(), " sizes, at most ", kDimensionsMax));
    }
    spec.shapes.push_back({shape.name(), {shape.shape().begin(), shape.shape().end()}});
  }
  return spec;
}

void ToWire(const BenchmarkProgress& progress, v1::BenchmarkProgress& wire) {
  wire.set_phase(ToWire(progress.phase));
  wire.set_runs(progress.runs);
  wire.set_runs_total(progress.runs_total);
  wire.set_share(progress.share);
  wire.set_elapsed_ms(Microseconds(progress.elapsed) / 1000);
}

void ToWire(const BenchmarkResult& result, v1::BenchmarkResult& wire) {
  wire.set_model(result.model);
  wire.set_version(result.version);
  wire.set_plan(Name(result.plan));
  for (const TensorSpec& input : result.inputs) {
    v1::TensorDescription& added = *wire.add_inputs();
    added.set_name(input.name);
    added.set_data_type(Name(input.type));
    added.mutable_shape()->Add(input.shape.begin(), input.shape.end());
  }
  wire.set_batch_size(static_cast<int>(result.batch_size));
  wire.set_concurrency(static_cast<int>(result.concurrency));
  wire.set_warm_up(result.warm_up);
  ToWire(result.times, *wire.mutable_times());
  for (const TimeBin& bin : result.bins) {
    v1::TimeBin& added = *wire.add_bins();
    added.set_from_us(WireTime(bin.from));
    added.set_to_us(WireTime(bin.to));
    added.set_runs(bin.count);
  }
  for (const Duration time : result.curve) wire.add_curve_us(WireTime(time));
  wire.set_rows_per_second(result.rows_per_second);
  wire.set_rows_went_first(result.rows_went_first);
  wire.set_elapsed_ms(Microseconds(result.elapsed) / 1000);
}

}  // namespace torchd
