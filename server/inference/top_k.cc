#include "server/inference/top_k.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace torchd {

absl::StatusOr<std::vector<ScoredClass>> TopK(absl::Span<const float> scores, int k, bool softmax) {
  for (size_t i = 0; i < scores.size(); ++i) {
    if (!std::isfinite(scores[i])) {
      return absl::InternalError(
          absl::StrCat("the model's answer is not a number: score ", i, " is ", scores[i]));
    }
  }
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int32_t a, int32_t b) {
    const float score_a = scores[static_cast<size_t>(a)];
    const float score_b = scores[static_cast<size_t>(b)];
    return score_a != score_b ? score_a > score_b : a < b;
  });
  double sum = 1;
  const float highest = scores[static_cast<size_t>(order[0])];
  if (softmax) {
    // Shifted by the highest score, so that no exponential overflows.
    sum = std::accumulate(scores.begin(), scores.end(), 0.0, [&](double total, float score) {
      return total + std::exp(static_cast<double>(score) - highest);
    });
  }
  std::vector<ScoredClass> top;
  top.reserve(static_cast<size_t>(k));
  for (int i = 0; i < k; ++i) {
    const int32_t index = order[static_cast<size_t>(i)];
    const float score = scores[static_cast<size_t>(index)];
    top.push_back(
        {index, softmax ? static_cast<float>(std::exp(static_cast<double>(score) - highest) / sum)
                        : score});
  }
  return top;
}

}  // namespace torchd
