#include "server/metrics/process_stats.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <system_error>

namespace torchd {
namespace {

struct SelfStat {
  double threads = 0;
  double start_ticks = 0;  // Since boot.
};

std::optional<SelfStat> ReadSelfStat() {
  std::ifstream file("/proc/self/stat");
  // The second field is the program's name in parentheses, and may hold any character.
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::string fields = text.substr(name_end + 1);
  std::size_t at = 0;
  SelfStat stat;
  for (int field = 3; field <= 22; ++field) {
    at = fields.find_first_not_of(' ', at);
    if (at == std::string::npos) return std::nullopt;
    if (field == 20) stat.threads = std::strtod(fields.c_str() + at, nullptr);
    if (field == 22) stat.start_ticks = std::strtod(fields.c_str() + at, nullptr);
    at = fields.find(' ', at);
  }
  return stat;
}

std::optional<double> ReadBootTimeSeconds() {
  std::ifstream file("/proc/stat");
  std::string key;
  while (file >> key) {
    double seconds = 0;
    if (key == "btime" && file >> seconds) return seconds;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::nullopt;
}

std::optional<double> ReadResidentBytes() {
  std::ifstream file("/proc/self/statm");
  double pages_in_all = 0;
  double pages_resident = 0;
  if (!(file >> pages_in_all >> pages_resident)) return std::nullopt;
  return pages_resident * static_cast<double>(sysconf(_SC_PAGESIZE));
}

std::optional<double> CountOpenFds() {
  std::error_code error;
  double count = 0;
  for (std::filesystem::directory_iterator entry("/proc/self/fd", error), end;
       !error && entry != end; entry.increment(error)) {
    ++count;
  }
  if (error) return std::nullopt;
  return count - 1;  // Less the one that listed them.
}

}  // namespace

std::optional<ProcessStats> ReadProcessStats() {
  const std::optional<SelfStat> stat = ReadSelfStat();
  const std::optional<double> boot = ReadBootTimeSeconds();
  const std::optional<double> resident = ReadResidentBytes();
  const std::optional<double> fds = CountOpenFds();
  if (!stat || !boot || !resident || !fds) return std::nullopt;
  return ProcessStats{
      .start_time_seconds = *boot + stat->start_ticks / static_cast<double>(sysconf(_SC_CLK_TCK)),
      .resident_bytes = *resident,
      .open_fds = *fds,
      .threads = stat->threads};
}

}  // namespace torchd
