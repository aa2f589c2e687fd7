// What the runs of one model take, by shape and by the number of rows: measured, never assumed.
// From it follows how many of the rows that wait run together.
//
// A run always has as many rows as one of the buckets; where rows are missing it is padded. Fewer,
// fuller runs are chosen only where they are faster: a model that takes twice the time for twice
// the rows runs them one by one, and the first of them is answered sooner.
//
// Thread-safety: all methods.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/base/clock.h"

namespace torchd {

// The sizes that a model leaves open, as a row has them; empty where it leaves none open.
using ShapeClass = std::vector<int64_t>;

class CostTable {
 public:
  static constexpr size_t kClassesMax = 64;  // Beyond, the one not used for longest is forgotten.

  struct Cost {
    ShapeClass shape;
    int bucket = 0;
    Duration mean{0};
    int64_t runs = 0;
  };

  // One run; all 0 while nothing is measured.
  struct Run {
    int bucket = 0;
    Duration careful{0};  // As long as hardly any takes.
  };

  // `buckets`: ascending, at least one.
  explicit CostTable(std::vector<int> buckets);

  // A run of `bucket` rows took so long. Recent runs count for more; a hiccup counts for little.
  void Add(const ShapeClass& shape, int bucket, Duration took) ABSL_LOCKS_EXCLUDED(mutex_);

  // The bucket to run next of `rows` that wait. Now and then one whose measurement is old.
  // Requires: rows >= 1.
  int Choose(const ShapeClass& shape, int rows) const ABSL_LOCKS_EXCLUDED(mutex_);

  // How long `rows` take, run after run as Choose() says; 0 while nothing is measured. Careful: as
  // long as hardly any will be late.
  Duration Typical(const ShapeClass& shape, int rows) const ABSL_LOCKS_EXCLUDED(mutex_);
  Duration Careful(const ShapeClass& shape, int rows) const ABSL_LOCKS_EXCLUDED(mutex_);

  // The run that `rows` begin with, of those that waited; and one of this bucket.
  Run FirstRun(const ShapeClass& shape, int rows) const ABSL_LOCKS_EXCLUDED(mutex_);
  Duration CarefulRun(const ShapeClass& shape, int bucket) const ABSL_LOCKS_EXCLUDED(mutex_);

  // What runs of this very shape and bucket take; 0: there was none.
  Duration MeasuredMean(const ShapeClass& shape, int bucket) const ABSL_LOCKS_EXCLUDED(mutex_);

  // Whether more company than `rows` would make them cheaper.
  bool CompanyPays(const ShapeClass& shape, int rows) const ABSL_LOCKS_EXCLUDED(mutex_);

  // All that was measured, by shape and bucket.
  std::vector<Cost> Costs() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Measured {  // Seconds.
    double mean = 0;
    double deviation = 0;
    double error = 0;  // Of the mean, as the latest run saw it.
    int64_t runs = 0;
    int64_t last = 0;  // Of all runs of this shape, the latest of this bucket.
  };
  struct Best {
    int bucket = 1;
    double typical = 0;
    double careful = 0;
  };
  struct Class {
    std::vector<Measured> by_bucket;
    std::vector<Best> by_rows;  // [n - 1]: of n rows, as many as the largest bucket has.
    int64_t runs = 0;
    int64_t used = 0;
  };

  static double Correction(const Measured& measured, double error, bool old);
  size_t PlaceOf(int bucket) const;  // Of the buckets; as many as there are: none of them.
  Duration CarefulOf(const Class& shape_class, int bucket) const;
  void Forget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Plan(Class& shape_class) const;
  Measured Estimate(const Class& shape_class, size_t bucket) const;
  // The class itself, else the one nearest in size; none: nothing is measured.
  const Class* Find(const ShapeClass& shape) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Best Total(const ShapeClass& shape, int rows) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::vector<int> buckets_;
  mutable absl::Mutex mutex_;
  std::map<ShapeClass, Class> classes_ ABSL_GUARDED_BY(mutex_);
  int64_t clock_ ABSL_GUARDED_BY(mutex_) = 0;  // Counts Add().
};

}  // namespace torchd
