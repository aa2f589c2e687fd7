// Structured logs: one line per event on stderr, written with one system call.
//
// Example:
//   Log(Severity::kInfo, "model ready", {{"model", name}, {"version", absl::StrCat(version)}});
//   // text:  2026-11-21T12:00:00.123456Z INFO  model ready model=cat version=1
//   // json:  {"time":"2026-11-21T12:00:00.123456Z","severity":"INFO","message":"model ready",...}
//
// Thread-safety: Log() may be called from any thread; ConfigureLog() once, before the others.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace torchd {

enum class Severity { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

void ConfigureLog(Severity least, LogFormat format);

using LogFields = std::initializer_list<std::pair<absl::string_view, std::string>>;
void Log(Severity severity, absl::string_view message, LogFields fields = {});

// The line Log() writes, newline included; for tests.
std::string FormatLogLine(LogFormat format, absl::string_view time, Severity severity,
                          absl::string_view message, LogFields fields);

// Ends the process: an invariant is broken, and going on would serve wrong answers.
[[noreturn]] void CheckFailed(const char* condition, const char* file, int line);

}  // namespace torchd

#define TORCHD_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::torchd::CheckFailed(#condition, __FILE__, __LINE__))
