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

// One run that has ended.
struct EndedRun {
  ShapeClass shape;
  int rows = 0;
  Duration took{0};
  Instant ended;
  int waiting = 0;    // Others of its shape, when it ended.
  int back = 0;       // That came since, until all its rows had their answers.
  int executors = 1;  // That may run such rows at the same time.
};

class Returns {
 public:
  // `within`: who comes later has not come back. 0: nobody is waited for.
  explicit Returns(Duration within) : within_(within) {}

  void Ended(EndedRun run);

  // A row has come.
  void Came(const ShapeClass& shape, Instant now);

  // So many rows were taken to run.
  void Taken(const ShapeClass& shape, int rows);

  // A row was refused, for too many wait: more come than can be answered, so none is worth a wait.
  void Refused() { came_ = 0; }

  // Rows of this shape that will wait at `until()`, with those that wait already; 0: nobody knows.
  int Expected(const ShapeClass& shape, Instant now) const;
  Instant until() const { return until_; }
  Instant last() const { return last_; }  // That the run ended or a row came.

 private:
  bool IsRecent(const ShapeClass& shape, Instant now) const;
  double Share() const { return answered_ > 0 ? came_ / answered_ : 0; }

  const Duration within_;
  EndedRun run_;  // The last; `back` counts on.
  Instant until_ = Instant::min();
  Instant last_ = Instant::min();
  int taken_ = 0;  // Since it ended.
  // Of the runs before it; older ones count for less.
  double answered_ = 0;
  double came_ = 0;
};

}  // namespace torchd
