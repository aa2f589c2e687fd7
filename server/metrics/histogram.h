// Counters and histograms that many threads write at once without waiting for each other.
//
// Example:
//   LatencyHistogram request;
//   request.Observe(clock.Now() - arrival);
//   prometheus::ClientMetric::Histogram now = request.Read();
//
// Each thread writes to one of a few shards, chosen once per thread, so that two cores seldom share
// a cache line; a reader adds the shards up.
//
// Thread-safety: all methods. Observe() and Add() take no lock and allocate nothing. Read() and
// value() may miss what is written meanwhile, but never lose or count it twice.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "prometheus/client_metric.h"
#include "server/base/clock.h"

namespace torchd {

inline constexpr std::size_t kMetricShards = 8;

// The shard of the calling thread, below kMetricShards.
std::size_t ThisThreadsShard();

class Counter {
 public:
  void Add(std::uint64_t count = 1) {
    shards_[ThisThreadsShard()].count.fetch_add(count, std::memory_order_relaxed);
  }
  std::uint64_t value() const;

 private:
  struct alignas(64) Shard {
    std::atomic<std::uint64_t> count{0};
  };
  std::array<Shard, kMetricShards> shards_;
};

// Counts integers by upper bound. Sums stay integers, so that no observation is rounded away.
class IntegerHistogram {
 public:
  // `bounds`: inclusive upper bounds, ascending; one more bucket, +Inf, comes by itself. Read()
  // gives bounds and sum divided by `units_per_one`: 1e9 for nanoseconds shown as seconds.
  IntegerHistogram(std::vector<std::int64_t> bounds, double units_per_one);

  // A negative value counts as 0: a duration may be, when two threads read their clocks.
  void Observe(std::int64_t value);
  prometheus::ClientMetric::Histogram Read() const;

 private:
  struct alignas(64) CacheLine {
    std::array<std::atomic<std::uint64_t>, 8> cells{};
  };

  std::atomic<std::uint64_t>& Cell(std::size_t shard, std::size_t index) const {
    return lines_[shard * lines_per_shard_ + index / 8].cells[index % 8];
  }
  std::uint64_t Total(std::size_t index) const;

  const std::vector<std::int64_t> bounds_;
  const double units_per_one_;
  const std::size_t lines_per_shard_;
  // Per shard: a cell per bucket, +Inf included, then the sum.
  const std::unique_ptr<CacheLine[]> lines_;
};

// Durations, shown in seconds: five buckets per decade from 10 us to 100 s.
class LatencyHistogram {
 public:
  LatencyHistogram();

  void Observe(Duration duration) {
    histogram_.Observe(std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
  }
  prometheus::ClientMetric::Histogram Read() const { return histogram_.Read(); }

 private:
  IntegerHistogram histogram_;
};

// Rows of a batch: 1, 2, 4, ... 64.
class RowsHistogram {
 public:
  RowsHistogram() : histogram_({1, 2, 4, 8, 16, 32, 64}, 1) {}

  void Observe(std::int64_t rows) { histogram_.Observe(rows); }
  prometheus::ClientMetric::Histogram Read() const { return histogram_.Read(); }

 private:
  IntegerHistogram histogram_;
};

}  // namespace torchd
