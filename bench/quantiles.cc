#include "bench/quantiles.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace torchd::bench {

double Quantile(const std::vector<double>& sorted, double share) {
  const double count = static_cast<double>(sorted.size());
  // 0.99 * 100 is a little more than 99 in binary.
  const double rank = std::clamp(std::ceil(share * count - 1e-9), 1.0, count);
  return sorted[static_cast<size_t>(rank) - 1];
}

Summary Summarise(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const double total = std::accumulate(values.begin(), values.end(), 0.0);
  return {values.size(),
          Quantile(values, 0.5),
          Quantile(values, 0.9),
          Quantile(values, 0.99),
          Quantile(values, 0.999),
          values.back(),
          total / static_cast<double>(values.size())};
}

}  // namespace torchd::bench
