// Hears what compiled packages print to std::cerr: the only place where they say why they failed.
// Private to the folder `execution`.
#pragma once

#include <string>

namespace torchd {

// Once per process, before there are other threads: std::cerr is routed through a buffer that asks
// whether the printing thread listens. It stays for the life of the process.
void InstallStandardErrorTap();

// While one lives, what its own thread prints to std::cerr is kept here instead of being printed.
// Thread-safety: one per thread at a time. Without the tap it hears nothing.
class HeardErrors {
 public:
  HeardErrors();
  HeardErrors(const HeardErrors&) = delete;
  HeardErrors& operator=(const HeardErrors&) = delete;
  ~HeardErrors();

  // The first line, without the "Error: " in front of it; empty: nothing was said.
  std::string Reason() const;

 private:
  std::string text_;
};

}  // namespace torchd
