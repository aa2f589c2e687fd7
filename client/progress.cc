#include "client/progress.h"

#include <unistd.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace torchd {
namespace {

constexpr size_t kBarWidth = 30;
constexpr std::chrono::milliseconds kPause(100);
constexpr char kErase[] = "\r\x1b[K";

}  // namespace

std::string ProgressLine(const Progress& progress) {
  const size_t filled = progress.done * kBarWidth / progress.total;
  std::string line =
      absl::StrCat("[", std::string(filled, '#'), std::string(kBarWidth - filled, ' '), "] ",
                   progress.done, " of ", progress.total);
  if (progress.failed > 0) absl::StrAppend(&line, ", ", progress.failed, " failed");
  const double seconds = std::chrono::duration<double>(progress.elapsed).count();
  if (progress.done == 0 || seconds <= 0) return line;
  const double rate = static_cast<double>(progress.done) / seconds;
  absl::StrAppend(&line, absl::StrFormat(", %.1f/s", rate));
  if (progress.done == progress.total) return line;
  const double left = static_cast<double>(progress.total - progress.done) / rate;
  return absl::StrCat(line, absl::StrFormat(", %.0f s left", left));
}

ProgressLineShown::ProgressLineShown() : terminal_(isatty(STDERR_FILENO) != 0) {}

ProgressLineShown::~ProgressLineShown() { Clear(); }

void ProgressLineShown::Show(const std::string& line) {
  if (!terminal_ || Clock::now() < next_) return;
  next_ = Clock::now() + kPause;
  std::fputs(absl::StrCat(kErase, line).c_str(), stderr);
  shown_ = true;
}

void ProgressLineShown::Clear() {
  if (!shown_) return;
  std::fputs(kErase, stderr);
  shown_ = false;
  next_ = {};
}

}  // namespace torchd
