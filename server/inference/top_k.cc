#include "server/inference/top_k.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace torchd {

bool AllFinite(absl::Span<const float> scores) {
  // A product with zero is zero, but NaN for what is not finite; one sum vectorizes.
  float sum = 0;
  for (const float score : scores) sum += score * 0.0F;
  return sum == 0;
}

std::vector<ScoredClass> TopK(absl::Span<const float> scores, int k, bool softmax) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  if (!AllFinite(scores)) {
    order.erase(
        std::remove_if(order.begin(), order.end(),
                       [&](int32_t i) { return !std::isfinite(scores[static_cast<size_t>(i)]); }),
        order.end());
  }
  if (order.empty()) return {};
  const auto count = std::min<std::ptrdiff_t>(k, static_cast<std::ptrdiff_t>(order.size()));
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int32_t a, int32_t b) {
    const float score_a = scores[static_cast<size_t>(a)];
    const float score_b = scores[static_cast<size_t>(b)];
    return score_a != score_b ? score_a > score_b : a < b;
  });
  double sum = 1;
  const float highest = scores[static_cast<size_t>(order[0])];
  if (softmax) {
    // Shifted by the highest score, so that no exponential overflows.
    sum = std::accumulate(order.begin(), order.end(), 0.0, [&](double total, int32_t index) {
      return total + std::exp(static_cast<double>(scores[static_cast<size_t>(index)]) - highest);
    });
  }
  std::vector<ScoredClass> top;
  top.reserve(static_cast<size_t>(count));
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    const int32_t index = order[static_cast<size_t>(i)];
    const float score = scores[static_cast<size_t>(index)];
    top.push_back(
        {index, softmax ? static_cast<float>(std::exp(static_cast<double>(score) - highest) / sum)
                        : score});
  }
  return top;
}

}  // namespace torchd
