#include "server/batching/cost_table.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

namespace torchd {
namespace {

constexpr double kNewShare = 1.0 / 8;
constexpr double kNewDeviationShare = 1.0 / 4;
constexpr double kHiccup = 4;   // A run that took more times the mean counts as that many.
constexpr double kPays = 0.96;  // More rows in a run must take at most this share of the time.
constexpr double kFirstDeviation = 1.0 / 8;  // Of the mean: one run says nothing of the next.
constexpr double kSurprise = 1.0 / 2;        // Of the mean.
constexpr int64_t kOldRuns = 200;
constexpr int64_t kOldFirstRun = 20;  // A first run often pays for warming up.

Duration ToDuration(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

double SizeOf(const ShapeClass& shape) {
  return std::accumulate(shape.begin(), shape.end(), 1.0, std::multiplies<>());
}

}  // namespace

CostTable::CostTable(std::vector<int> buckets) : buckets_(std::move(buckets)) {}

void CostTable::Add(const ShapeClass& shape, int bucket, Duration took) {
  const size_t place = PlaceOf(bucket);
  if (place == buckets_.size()) return;
  const double seconds = Seconds(took);
  absl::MutexLock lock(&mutex_);
  if (classes_.count(shape) == 0 && classes_.size() >= kClassesMax) Forget();
  Class& known = classes_[shape];
  known.by_bucket.resize(buckets_.size());
  Measured& measured = known.by_bucket[place];
  if (measured.runs == 0 || (measured.runs == 1 && seconds < measured.mean)) {
    measured.mean = seconds;
    measured.deviation = kFirstDeviation * seconds;
  } else {
    const double error = std::min(seconds, kHiccup * measured.mean) - measured.mean;
    const bool old = known.runs - measured.last > kOldRuns;
    measured.mean += Correction(measured, error, old);
    measured.error = error;
    measured.deviation += kNewDeviationShare * (std::abs(error) - measured.deviation);
  }
  ++measured.runs;
  measured.last = ++known.runs;
  known.used = ++clock_;
  Plan(known);
}

int CostTable::Choose(const ShapeClass& shape, int rows) const {
  const int most = buckets_.back();
  const size_t at = static_cast<size_t>(std::min(rows, most)) - 1;
  absl::MutexLock lock(&mutex_);
  const auto found = classes_.find(shape);
  if (found == classes_.end()) {  // To be measured: as few runs as can be.
    return *std::lower_bound(buckets_.begin(), buckets_.end(), std::min(rows, most));
  }
  const Class& known = found->second;
  const Best& best = known.by_rows[at];
  for (size_t i = 0; i < buckets_.size() && buckets_[i] <= rows; ++i) {
    const Measured& measured = known.by_bucket[i];
    // The dearer, the more seldom: looking again must cost little.
    const double times = measured.mean / buckets_[i] / (best.typical / static_cast<double>(at + 1));
    const double wait = measured.runs == 1 ? static_cast<double>(kOldFirstRun)
                                           : static_cast<double>(kOldRuns) * std::max(1.0, times);
    if (static_cast<double>(known.runs - measured.last) > wait) return buckets_[i];
  }
  return best.bucket;
}

Duration CostTable::Typical(const ShapeClass& shape, int rows) const {
  absl::MutexLock lock(&mutex_);
  return ToDuration(Total(shape, rows).typical);
}

Duration CostTable::Careful(const ShapeClass& shape, int rows) const {
  absl::MutexLock lock(&mutex_);
  return ToDuration(Total(shape, rows).careful);
}

// Half of what two runs in a row say where the measurement was old, or they were far from it.
double CostTable::Correction(const Measured& measured, double error, bool old) {
  const double both = std::min(std::abs(error), std::abs(measured.error));
  const bool agree = error * measured.error > 0 && (old || both > kSurprise * measured.mean);
  return agree ? std::copysign(both / 2, error) : kNewShare * error;
}

CostTable::Run CostTable::FirstRun(const ShapeClass& shape, int rows) const {
  absl::MutexLock lock(&mutex_);
  const Class* const known = Find(shape);
  if (known == nullptr) return {};
  const int bucket =
      known->by_rows[static_cast<size_t>(std::min(rows, buckets_.back())) - 1].bucket;
  return {bucket, CarefulOf(*known, bucket)};
}

Duration CostTable::CarefulRun(const ShapeClass& shape, int bucket) const {
  absl::MutexLock lock(&mutex_);
  const Class* const known = Find(shape);
  return known == nullptr ? Duration(0) : CarefulOf(*known, bucket);
}

Duration CostTable::MeasuredMean(const ShapeClass& shape, int bucket) const {
  absl::MutexLock lock(&mutex_);
  const auto known = classes_.find(shape);
  return known == classes_.end() ? Duration(0)
                                 : ToDuration(known->second.by_bucket[PlaceOf(bucket)].mean);
}

bool CostTable::CompanyPays(const ShapeClass& shape, int rows) const {
  absl::MutexLock lock(&mutex_);
  const Class* const known = Find(shape);
  const int most = buckets_.back();
  if (rows >= most) return false;
  if (known == nullptr) return true;
  const double now = known->by_rows[static_cast<size_t>(rows) - 1].typical / rows;
  for (int more = rows + 1; more <= most; ++more) {
    const double then = known->by_rows[static_cast<size_t>(more) - 1].typical / more;
    if (then < kPays * now) return true;
  }
  return false;
}

std::vector<CostTable::Cost> CostTable::Costs() const {
  std::vector<Cost> costs;
  absl::MutexLock lock(&mutex_);
  for (const auto& [shape, known] : classes_) {
    for (size_t i = 0; i < buckets_.size(); ++i) {
      const Measured& measured = known.by_bucket[i];
      if (measured.runs == 0) continue;
      costs.push_back({shape, buckets_[i], ToDuration(measured.mean), measured.runs});
    }
  }
  return costs;
}

size_t CostTable::PlaceOf(int bucket) const {
  return static_cast<size_t>(std::find(buckets_.begin(), buckets_.end(), bucket) -
                             buckets_.begin());
}

Duration CostTable::CarefulOf(const Class& shape_class, int bucket) const {
  const Measured measured = Estimate(shape_class, PlaceOf(bucket));
  return ToDuration(measured.mean + 2 * measured.deviation);
}

void CostTable::Forget() {
  classes_.erase(
      std::min_element(classes_.begin(), classes_.end(),
                       [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
}

// What was never run is taken to cost what the nearest smaller bucket does, so it is tried soon.
CostTable::Measured CostTable::Estimate(const Class& shape_class, size_t bucket) const {
  for (size_t i = bucket + 1; i-- > 0;) {
    if (shape_class.by_bucket[i].runs > 0) return shape_class.by_bucket[i];
  }
  size_t next = bucket;
  while (shape_class.by_bucket[next].runs == 0) ++next;  // Plan() is called with one measured.
  return shape_class.by_bucket[next];
}

// The least time for n rows, from those for fewer. Where fewer rows at once are as fast, they go.
void CostTable::Plan(Class& shape_class) const {
  const auto most = static_cast<size_t>(buckets_.back());
  shape_class.by_rows.assign(most, {});
  const auto of_rest = [&](size_t rows, int bucket) {
    const auto taken = static_cast<size_t>(bucket);
    return taken >= rows ? Best{bucket, 0, 0} : shape_class.by_rows[rows - taken - 1];
  };
  std::vector<Measured> costs;
  for (size_t i = 0; i < buckets_.size(); ++i) costs.push_back(Estimate(shape_class, i));
  for (size_t rows = 1; rows <= most; ++rows) {
    double least = 0;
    for (size_t i = buckets_.size(); i-- > 0;) {
      const double total = costs[i].mean + of_rest(rows, buckets_[i]).typical;
      if (least == 0 || total < least) least = total;
    }
    for (size_t i = 0; i < buckets_.size(); ++i) {
      const Best rest = of_rest(rows, buckets_[i]);
      const double total = costs[i].mean + rest.typical;
      if (total * kPays > least) continue;
      const double careful = costs[i].mean + 2 * costs[i].deviation + rest.careful;
      shape_class.by_rows[rows - 1] = {buckets_[i], total, careful};
      break;
    }
  }
}

const CostTable::Class* CostTable::Find(const ShapeClass& shape) const {
  const auto found = classes_.find(shape);
  if (found != classes_.end()) return &found->second;
  const Class* nearest = nullptr;
  double least = 0;
  for (const auto& [other, known] : classes_) {
    const double distance = std::abs(SizeOf(other) - SizeOf(shape));
    if (nearest != nullptr && distance >= least) continue;
    nearest = &known;
    least = distance;
  }
  return nearest;
}

CostTable::Best CostTable::Total(const ShapeClass& shape, int rows) const {
  const Class* const known = Find(shape);
  if (known == nullptr || rows <= 0) return {};
  const int most = buckets_.back();
  const Best full = known->by_rows.back();
  const int whole = rows / most;
  Best total = {full.bucket, whole * full.typical, whole * full.careful};
  if (rows % most > 0) {
    const Best& rest = known->by_rows[static_cast<size_t>(rows % most) - 1];
    total.typical += rest.typical;
    total.careful += rest.careful;
  }
  return total;
}

}  // namespace torchd
