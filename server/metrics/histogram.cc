#include "server/metrics/histogram.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace torchd {
namespace {

std::vector<std::int64_t> LatencyBounds() {
  std::vector<std::int64_t> bounds;  // In nanoseconds.
  for (std::int64_t decade = 100; decade <= 100'000'000; decade *= 10) {
    // 100 * 10^(i/5), rounded: 1.6 reads better than 1.58489.
    for (std::int64_t step : {100, 160, 250, 400, 630}) bounds.push_back(decade * step);
  }
  bounds.push_back(100'000'000'000);
  return bounds;
}

}  // namespace

std::size_t ThisThreadsShard() {
  // Only spreads threads over shards; no meaning hangs on the numbers, so it may be global.
  static std::atomic<std::size_t> threads{0};
  thread_local const std::size_t shard =
      threads.fetch_add(1, std::memory_order_relaxed) % kMetricShards;
  return shard;
}

std::uint64_t Counter::value() const {
  std::uint64_t total = 0;
  for (const Shard& shard : shards_) total += shard.count.load(std::memory_order_relaxed);
  return total;
}

IntegerHistogram::IntegerHistogram(std::vector<std::int64_t> bounds, double units_per_one)
    : bounds_(std::move(bounds)),
      units_per_one_(units_per_one),
      lines_per_shard_((bounds_.size() + 2 + 7) / 8),
      lines_(std::make_unique<CacheLine[]>(kMetricShards * lines_per_shard_)) {}

void IntegerHistogram::Observe(std::int64_t value) {
  value = std::max<std::int64_t>(value, 0);
  const auto bound = std::lower_bound(bounds_.begin(), bounds_.end(), value);
  const auto bucket = static_cast<std::size_t>(bound - bounds_.begin());
  const std::size_t shard = ThisThreadsShard();
  Cell(shard, bucket).fetch_add(1, std::memory_order_relaxed);
  Cell(shard, bounds_.size() + 1)
      .fetch_add(static_cast<std::uint64_t>(value), std::memory_order_relaxed);
}

prometheus::ClientMetric::Histogram IntegerHistogram::Read() const {
  prometheus::ClientMetric::Histogram result;
  for (std::size_t bucket = 0; bucket <= bounds_.size(); ++bucket) {
    // The count is the sum of the buckets, so that the two never contradict each other.
    result.sample_count += Total(bucket);
    const double bound = bucket < bounds_.size()
                             ? static_cast<double>(bounds_[bucket]) / units_per_one_
                             : std::numeric_limits<double>::infinity();
    result.bucket.push_back({.cumulative_count = result.sample_count, .upper_bound = bound});
  }
  result.sample_sum = static_cast<double>(Total(bounds_.size() + 1)) / units_per_one_;
  return result;
}

std::uint64_t IntegerHistogram::Total(std::size_t index) const {
  std::uint64_t total = 0;
  for (std::size_t shard = 0; shard < kMetricShards; ++shard) {
    total += Cell(shard, index).load(std::memory_order_relaxed);
  }
  return total;
}

LatencyHistogram::LatencyHistogram() : histogram_(LatencyBounds(), 1e9) {}

}  // namespace torchd
