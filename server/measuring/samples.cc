#include "server/measuring/samples.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace torchd {
namespace {

// The binomial distribution has nothing to speak of further from its middle, in deviations.
constexpr double kDeviationsMax = 12;

// The probability that `below` of `count` times are shorter than the true median.
double Probability(int64_t below, int64_t count) {
  const auto k = static_cast<double>(below);
  const auto n = static_cast<double>(count);
  return std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) -
                  n * std::log(2.0));
}

Duration FromNanoseconds(double nanoseconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::nanoseconds(std::llround(nanoseconds)));
}

double Nanoseconds(Duration time) { return std::chrono::duration<double, std::nano>(time).count(); }

}  // namespace

Duration Percentile(absl::Span<const Duration> sorted, double share) {
  const auto count = static_cast<double>(sorted.size());
  // 0.99 * 100 is a little more than 99 in binary.
  const double rank = std::clamp(std::ceil(share * count - 1e-9), 1.0, count);
  return sorted[static_cast<size_t>(rank) - 1];
}

Duration Median(std::vector<Duration> times) {
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>((times.size() - 1) / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

Interval MedianInterval(absl::Span<const Duration> sorted, double confidence) {
  const auto count = static_cast<int64_t>(sorted.size());
  const double reach = kDeviationsMax * std::sqrt(static_cast<double>(count)) / 2;
  // From the rank `left` (from 0) and as far from the other end the interval is as narrow as it may
  // be: `outside` is the chance that the median lies beyond one of its ends.
  int64_t left = std::max<int64_t>(0, count / 2 - static_cast<int64_t>(reach));
  double outside = Probability(left, count);
  while (left + 1 < (count + 1) / 2) {
    const double more = outside + Probability(left + 1, count);
    if (1 - 2 * more < confidence) break;
    outside = more;
    ++left;
  }
  return {sorted[static_cast<size_t>(left)], sorted[static_cast<size_t>(count - 1 - left)],
          std::max(0.0, 1 - 2 * outside)};
}

TimeSummary Summarise(absl::Span<const Duration> sorted) {
  TimeSummary summary;
  summary.count = static_cast<int64_t>(sorted.size());
  summary.min = sorted.front();
  summary.p50 = Percentile(sorted, 0.5);
  summary.p90 = Percentile(sorted, 0.9);
  summary.p95 = Percentile(sorted, 0.95);
  summary.p99 = Percentile(sorted, 0.99);
  summary.max = sorted.back();
  const auto count = static_cast<double>(sorted.size());
  double mean = 0;
  for (const Duration time : sorted) mean += Nanoseconds(time) / count;
  double squares = 0;
  for (const Duration time : sorted) squares += std::pow(Nanoseconds(time) - mean, 2);
  summary.mean = FromNanoseconds(mean);
  if (sorted.size() > 1) summary.stddev = FromNanoseconds(std::sqrt(squares / (count - 1)));
  summary.median = MedianInterval(sorted);
  return summary;
}

std::vector<TimeBin> BinsOf(absl::Span<const Duration> sorted, int bins) {
  const Duration first = sorted.front();
  // Rounded up, so that the last bin reaches beyond the percentile.
  const Duration width = (Percentile(sorted, 0.99) - first) / bins + Duration(1);
  std::vector<TimeBin> made;
  made.reserve(static_cast<size_t>(bins) + 1);
  for (int i = 0; i < bins; ++i) made.push_back({first + i * width, first + (i + 1) * width});
  TimeBin rest = {made.back().to, sorted.back()};
  for (const Duration time : sorted) {
    const auto bin = static_cast<size_t>((time - first) / width);
    ++(bin < made.size() ? made[bin] : rest).count;
  }
  if (rest.count > 0) made.push_back(rest);
  return made;
}

}  // namespace torchd
