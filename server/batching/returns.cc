#include "server/batching/returns.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace torchd {
namespace {

constexpr double kOlder = 0.875;  // What came before the latest run.
constexpr double kFew = 0.5;      // Fewer come back: they are not waited for.
// Of a run's time. Of rows that come whenever they like, no more than this share of as many as a
// run answers comes within it, for they come all the while that it runs. So it has to be below
// kFew.
constexpr int kWindowShare = 3;

}  // namespace

bool Returns::IsRecent(const ShapeClass& shape, Instant now) const {
  return run_.rows > 0 && now <= until_ && shape == run_.shape;
}

void Returns::Ended(EndedRun run) {
  if (within_ == Duration(0)) return;
  answered_ = kOlder * answered_ + run_.rows;
  came_ = kOlder * came_ + run_.back;
  run_ = std::move(run);
  taken_ = 0;
  until_ = run_.ended + std::min(within_, run_.took / (kWindowShare * run_.executors));
  last_ = run_.ended;
}

void Returns::Came(const ShapeClass& shape, Instant now) {
  if (!IsRecent(shape, now)) return;
  ++run_.back;
  last_ = now;
}

void Returns::Taken(const ShapeClass& shape, int rows) {
  if (shape == run_.shape) taken_ += rows;
}

int Returns::Expected(const ShapeClass& shape, Instant now) const {
  const double share = std::min(1.0, Share());
  if (!IsRecent(shape, now) || share < kFew) return 0;
  return run_.waiting + static_cast<int>(std::lround(share * run_.rows)) - taken_;
}

}  // namespace torchd
