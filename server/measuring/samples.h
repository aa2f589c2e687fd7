// What a set of measured times is like. Every number is one that was measured, but for mean and
// standard deviation.
//
// Thread-safety: functions without state. Requires, where the parameter is called `sorted`:
// ascending, not empty.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "server/base/clock.h"

namespace torchd {

// The shortest of the times that at least `share` of them do not exceed (0 < share <= 1).
Duration Percentile(absl::Span<const Duration> sorted, double share);

// Their 0.5 percentile, in any order. Requires: not empty.
Duration Median(std::vector<Duration> times);

// Holds the true median with at least this confidence.
struct Interval {
  Duration low{0};
  Duration high{0};
  double confidence = 0;
};

// Of the median, by order statistics: how many of `n` times lie below the true median follows the
// binomial distribution with 1/2, whatever the times' own distribution is. The narrowest that has
// the confidence asked for; where the times are too few for that (below 6 for 0.95), the shortest
// and the longest, and the confidence that these give. True of independent times; where times drift
// it is too narrow.
Interval MedianInterval(absl::Span<const Duration> sorted, double confidence = 0.95);

struct TimeSummary {
  int64_t count = 0;  // 0: the rest says nothing.
  Duration min{0};
  Duration p50{0};
  Duration p90{0};
  Duration p95{0};
  Duration p99{0};
  Duration max{0};
  Duration mean{0};
  Duration stddev{0};  // Of the population that the times are a sample of; 0 for a single one.
  Interval median;
};

TimeSummary Summarise(absl::Span<const Duration> sorted);

// The times from `from` up to `to`, without `to` but in the last bin.
struct TimeBin {
  Duration from{0};
  Duration to{0};
  int64_t count = 0;
};

// `bins` of equal width from the shortest time to about the 0.99 percentile, so that a rare long
// one does not press all others into the first; what is longer is in one bin more, if there is any.
// Requires: bins >= 1.
std::vector<TimeBin> BinsOf(absl::Span<const Duration> sorted, int bins);

}  // namespace torchd
