#include "server/batching/returns.h"

#include <algorithm>
#include <cmath>

namespace torchd {
namespace {

constexpr double kLatestShare = 0.125;  // Of the latest run in the average.
constexpr double kFew = 0.5;            // Fewer come back: they are not waited for.

}  // namespace

bool Returns::IsRecent(const ShapeClass& shape, Instant now) const {
  return rows_ > 0 && now <= until() && shape == shape_;
}

void Returns::Ended(const ShapeClass& shape, int rows, int waiting, Instant ended, int back) {
  if (within_ == Duration(0)) return;
  if (rows_ > 0) {
    const double came = std::min(1.0, static_cast<double>(came_) / rows_);
    share_ += (came - share_) * kLatestShare;
  }
  shape_ = shape;
  rows_ = rows;
  waiting_ = waiting;
  ended_ = last_ = ended;
  came_ = back;
}

void Returns::Came(const ShapeClass& shape, Instant now) {
  if (!IsRecent(shape, now)) return;
  ++came_;
  last_ = now;
}

int Returns::Expected(const ShapeClass& shape, Instant now) const {
  if (!IsRecent(shape, now) || share_ < kFew) return 0;
  return waiting_ + static_cast<int>(std::lround(share_ * rows_));
}

}  // namespace torchd
