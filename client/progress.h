// One line on a terminal that says how far a run is.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace torchd {

struct Progress {
  size_t done = 0;
  size_t total = 0;  // At least 1.
  size_t failed = 0;
  std::chrono::milliseconds elapsed{0};
};

// "[#####     ]  50 of 100, 2 failed, 25.0/s, 2 s left"; what cannot be known yet is left out.
std::string ProgressLine(const Progress& progress);

// Writes it to the standard error where that is a terminal, else nothing. The line is written over,
// and gone at the end.
class ProgressLineShown {
 public:
  ProgressLineShown();
  ~ProgressLineShown();

  // At most ten times a second.
  void Show(const std::string& line);

  // So that something else can be printed.
  void Clear();

 private:
  using Clock = std::chrono::steady_clock;

  const bool terminal_;
  bool shown_ = false;
  Clock::time_point next_{};  // Not before.
};

}  // namespace torchd
