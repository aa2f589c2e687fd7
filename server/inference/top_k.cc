#include "server/inference/top_k.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace torchd {
namespace {

// Scores after the activation. `order`: those that count, the highest first.
class Activated {
 public:
  Activated(Activation activation, absl::Span<const float> scores,
            const std::vector<int32_t>& order)
      : activation_(activation) {
    if (activation != Activation::kSoftmax) return;
    // Shifted by the highest score, so that no exponential overflows.
    highest_ = scores[static_cast<size_t>(order[0])];
    sum_ = std::accumulate(order.begin(), order.end(), 0.0, [&](double total, int32_t index) {
      return total + std::exp(scores[static_cast<size_t>(index)] - highest_);
    });
  }

  float Of(float score) const {
    switch (activation_) {
      case Activation::kSoftmax:
        return static_cast<float>(std::exp(score - highest_) / sum_);
      case Activation::kSigmoid:
        return static_cast<float>(1 / (1 + std::exp(-static_cast<double>(score))));
      default:
        return score;
    }
  }

 private:
  const Activation activation_;
  double highest_ = 0;
  double sum_ = 1;
};

}  // namespace

bool AllFinite(absl::Span<const float> scores) {
  // A product with zero is zero, but NaN for what is not finite; one sum vectorizes.
  float sum = 0;
  for (const float score : scores) sum += score * 0.0F;
  return sum == 0;
}

std::vector<ScoredClass> TopK(absl::Span<const float> scores, const TopKOptions& options) {
  std::vector<int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  if (!AllFinite(scores)) {
    order.erase(
        std::remove_if(order.begin(), order.end(),
                       [&](int32_t i) { return !std::isfinite(scores[static_cast<size_t>(i)]); }),
        order.end());
  }
  if (order.empty()) return {};
  const auto count = std::min<std::ptrdiff_t>(options.k, static_cast<std::ptrdiff_t>(order.size()));
  std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](int32_t a, int32_t b) {
    const float score_a = scores[static_cast<size_t>(a)];
    const float score_b = scores[static_cast<size_t>(b)];
    return score_a != score_b ? score_a > score_b : a < b;
  });
  const Activated activated(options.activation, scores, order);
  std::vector<ScoredClass> top;
  top.reserve(static_cast<size_t>(count));
  for (std::ptrdiff_t i = 0; i < count; ++i) {
    const int32_t index = order[static_cast<size_t>(i)];
    const float score = activated.Of(scores[static_cast<size_t>(index)]);
    if (options.threshold && score < *options.threshold) break;  // No activation changes the order.
    top.push_back({index, score});
  }
  return top;
}

}  // namespace torchd
