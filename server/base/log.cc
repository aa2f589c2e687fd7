#include "server/base/log.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/base/utf8.h"

namespace torchd {
namespace {

// The one process-wide setting: logs must work before and after everything else.
std::atomic<Severity> g_least{Severity::kInfo};
std::atomic<LogFormat> g_format{LogFormat::kText};

const char* Name(Severity severity) {
  switch (severity) {
    case Severity::kDebug:
      return "DEBUG";
    case Severity::kInfo:
      return "INFO";
    case Severity::kWarning:
      return "WARNING";
    case Severity::kError:
      return "ERROR";
  }
  return "?";
}

std::string UtcNow() {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() %
      1'000'000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", utc.tm_year + 1900, utc.tm_mon + 1,
                         utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, micros);
}

// Quotes and control characters escaped; a client's bytes cannot forge a line. What is no UTF-8
// comes out as U+FFFD, since readers of JSON refuse the whole line otherwise.
void AppendQuoted(std::string& line, absl::string_view text) {
  line += '"';
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length != 1) {
      line += length == 0 ? "\xEF\xBF\xBD" : std::string(text.substr(0, length));
      text.remove_prefix(length == 0 ? 1 : length);
      continue;
    }
    const char c = text.front();
    text.remove_prefix(1);
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (c == '\n') {
      line += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppendFormat(&line, "\\u%04x", byte);
    } else {
      line += c;
    }
  }
  line += '"';
}

bool NeedsQuotes(absl::string_view text) {
  if (text.empty()) return true;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7f || c == '"' || c == '\\' || c == '=') return true;
  }
  return false;
}

void WriteAll(const std::string& line) {
  size_t done = 0;
  while (done < line.size()) {
    const ssize_t wrote = write(STDERR_FILENO, line.data() + done, line.size() - done);
    if (wrote <= 0) return;  // A full disk or a closed pipe must not stop the server.
    done += static_cast<size_t>(wrote);
  }
}

}  // namespace

void ConfigureLog(Severity least, LogFormat format) {
  g_least = least;
  g_format = format;
}

std::string FormatLogLine(LogFormat format, absl::string_view time, Severity severity,
                          absl::string_view message, LogFields fields) {
  std::string line;
  if (format == LogFormat::kJson) {
    absl::StrAppend(&line, "{\"time\":\"", time, "\",\"severity\":\"", Name(severity),
                    "\",\"message\":");
    AppendQuoted(line, message);
    for (const auto& field : fields) {
      line += ',';
      AppendQuoted(line, field.first);
      line += ':';
      AppendQuoted(line, field.second);
    }
    line += "}\n";
    return line;
  }
  absl::StrAppend(&line, time, absl::StrFormat(" %-7s ", Name(severity)));
  for (const char c : message) line += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  for (const auto& field : fields) {
    absl::StrAppend(&line, " ", field.first, "=");
    if (NeedsQuotes(field.second)) {
      AppendQuoted(line, field.second);
    } else {
      line += field.second;
    }
  }
  line += '\n';
  return line;
}

void Log(Severity severity, absl::string_view message, LogFields fields) {
  if (severity < g_least.load(std::memory_order_relaxed)) return;
  WriteAll(
      FormatLogLine(g_format.load(std::memory_order_relaxed), UtcNow(), severity, message, fields));
}

void CheckFailed(const char* condition, const char* file, int line) {
  Log(Severity::kError, "invariant broken",
      {{"condition", condition}, {"at", absl::StrCat(file, ":", line)}});
  std::abort();
}

}  // namespace torchd
