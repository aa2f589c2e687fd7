// Whether callers who were just answered come back at once, and so are company worth waiting for.
//
// Callers that send their next row as soon as they have an answer fall into groups: while one
// group's rows run the other's queue, and no run is ever full. A moment's wait after a run brings
// them together. Whether they do come back is measured, run by run, without waiting: those who
// send rows whenever they like cost nobody a wait.
//
// Thread-safety: none; its scheduler's.
#pragma once

#include "server/base/clock.h"
#include "server/batching/cost_table.h"

namespace torchd {

class Returns {
 public:
  // `within`: who comes later has not come back. 0: nobody is waited for.
  explicit Returns(Duration within) : within_(within) {}

  // A run of these rows has ended, while `waiting` others of its shape waited. Until all had their
  // answers `back` have come already.
  void Ended(const ShapeClass& shape, int rows, int waiting, Instant ended, int back = 0);

  // A row has come.
  void Came(const ShapeClass& shape, Instant now);

  // A row was refused, for too many wait: more come than can be answered, so none is worth a wait.
  void Refused() { share_ = 0; }

  // Rows of this shape that will wait at `until()`, with those that wait already; 0: nobody knows.
  int Expected(const ShapeClass& shape, Instant now) const;
  Instant until() const { return ended_ + within_; }
  Instant ended() const { return ended_; }
  Instant last() const { return last_; }  // That the run ended or a row came.

 private:
  bool IsRecent(const ShapeClass& shape, Instant now) const;

  const Duration within_;
  ShapeClass shape_;  // Of the last run.
  Instant ended_ = Instant::min();
  Instant last_ = Instant::min();
  int rows_ = 0;
  int waiting_ = 0;
  int came_ = 0;      // Since it ended, in time.
  double share_ = 0;  // That came back, of those answered, on average.
};

}  // namespace torchd
