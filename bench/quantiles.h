// What a set of times is like.
#pragma once

#include <cstddef>
#include <vector>

namespace torchd::bench {

struct Summary {
  size_t count = 0;  // 0: the rest says nothing.
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double p99_9 = 0;
  double max = 0;
  double mean = 0;
};

// The smallest of the values that at least `share` of them do not exceed (0 < share <= 1): one that
// was measured, never one in between. Requires: sorted, not empty.
double Quantile(const std::vector<double>& sorted, double share);

Summary Summarise(std::vector<double> values);

}  // namespace torchd::bench
