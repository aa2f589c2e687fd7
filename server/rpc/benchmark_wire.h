// Between the messages of a benchmark and our own types.
//
// Thread-safety: functions without state.
#pragma once

#include "absl/status/statusor.h"
#include "server/benchmark/benchmarks.h"
#include "torchd/v1/benchmark.pb.h"

namespace torchd {

// INVALID_ARGUMENT for more shapes or sizes than any model has. All else is up to the benchmarks.
absl::StatusOr<BenchmarkSpec> FromWire(const v1::BenchmarkRequest& request);

void ToWire(const BenchmarkProgress& progress, v1::BenchmarkProgress& wire);
void ToWire(const BenchmarkResult& result, v1::BenchmarkResult& wire);

}  // namespace torchd
