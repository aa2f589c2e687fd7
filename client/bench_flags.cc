#include "client/bench_flags.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace torchd {
namespace {

constexpr double kDurationSecondsMax = 600;

absl::Status Wrong(absl::string_view flag, absl::string_view value, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(flag, " is '", value, "'; expected ", expected));
}

absl::Status ParseNumber(absl::string_view flag, const std::string& value, int64_t& number) {
  return absl::SimpleAtoi(value, &number) ? absl::OkStatus() : Wrong(flag, value, "a whole number");
}

absl::Status ParseNumber(absl::string_view flag, const std::string& value, int32_t& number) {
  return absl::SimpleAtoi(value, &number) ? absl::OkStatus() : Wrong(flag, value, "a whole number");
}

// One of the request's numbers, by its setter.
template <typename Number>
absl::Status SetNumber(absl::string_view flag, const std::string& value,
                       void (v1::BenchmarkRequest::*set)(Number), Arguments& arguments) {
  Number number = 0;
  absl::Status parsed = ParseNumber(flag, value, number);
  (arguments.benchmark.*set)(number);
  return parsed;
}

}  // namespace

absl::Status SetBatch(const std::string& value, Arguments& arguments) {
  return SetNumber("--batch", value, &v1::BenchmarkRequest::set_batch_size, arguments);
}

absl::Status SetLength(const std::string& value, Arguments& arguments) {
  return SetNumber("--length", value, &v1::BenchmarkRequest::set_length, arguments);
}

absl::Status SetShape(const std::string& value, Arguments& arguments) {
  const size_t equals = value.find('=');
  const bool named = equals != std::string::npos;
  v1::InputShape& shape = *arguments.benchmark.add_shapes();
  if (named) shape.set_name(value.substr(0, equals));
  const std::vector<std::string> sizes =
      absl::StrSplit(named ? value.substr(equals + 1) : value, ',');
  for (const std::string& size : sizes) {
    int64_t number = 0;
    if (!absl::SimpleAtoi(size, &number)) {
      return Wrong("--shape", value,
                   "sizes such as 3,224,224, after NAME= where there are several "
                   "inputs");
    }
    shape.add_shape(number);
  }
  return absl::OkStatus();
}

absl::Status SetWarmUp(const std::string& value, Arguments& arguments) {
  return SetNumber("--warmup", value, &v1::BenchmarkRequest::set_warm_up, arguments);
}

absl::Status SetRepeats(const std::string& value, Arguments& arguments) {
  if (arguments.benchmark.has_duration_ms()) {
    return absl::InvalidArgumentError("got both --repeats and --duration; expected one of them");
  }
  return SetNumber("--repeats", value, &v1::BenchmarkRequest::set_repeats, arguments);
}

absl::Status SetDuration(const std::string& value, Arguments& arguments) {
  if (arguments.benchmark.has_repeats()) {
    return absl::InvalidArgumentError("got both --repeats and --duration; expected one of them");
  }
  double seconds = 0;
  // Written so that NaN fails too.
  if (!absl::SimpleAtod(value, &seconds) || !(seconds >= 0.001 && seconds <= kDurationSecondsMax)) {
    return Wrong("--duration", value, "seconds, 0.001 to 600");
  }
  arguments.benchmark.set_duration_ms(std::llround(seconds * 1000));
  return absl::OkStatus();
}

absl::Status SetConcurrency(const std::string& value, Arguments& arguments) {
  return SetNumber("--concurrency", value, &v1::BenchmarkRequest::set_concurrency, arguments);
}

absl::Status SetPlan(const std::string& value, Arguments& arguments) {
  if (value.empty()) return Wrong("--plan", value, "the name of a plan such as onednn");
  arguments.benchmark.set_plan(value);
  return absl::OkStatus();
}

absl::Status SetCsv(const std::string&, Arguments& arguments) {
  arguments.csv = true;
  return absl::OkStatus();
}

}  // namespace torchd
