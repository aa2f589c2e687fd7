// A benchmark for people and for scripts.
#pragma once

#include <string>

#include "torchd/v1/benchmark.pb.h"

namespace torchd {

// "measuring 42 of 100, 42 %, 3.2 s", without a newline.
std::string BenchProgressLine(const v1::BenchmarkProgress& progress);

// Percentiles, the first runs and a histogram.
std::string BenchTable(const v1::BenchmarkResult& result);

// An object with every field of BenchmarkResult.
std::string BenchJson(const v1::BenchmarkResult& result);

// A line of headings and one of values, as RFC 4180 has them; without bins and curve.
std::string BenchCsv(const v1::BenchmarkResult& result);

}  // namespace torchd
