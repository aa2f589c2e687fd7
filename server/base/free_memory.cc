#include "server/base/free_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>

namespace torchd {
namespace {

constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

// How a version of control groups calls its files.
struct GroupFiles {
  std::string root;
  const char* limit;
  const char* used;
  const char* files;  // Within memory.stat.
};

// The number after `key`; without one the first of the file. -1: there is none.
int64_t NumberIn(const std::string& path, const std::string& key = "") {
  std::ifstream file(path);
  std::string word;
  int64_t number = -1;
  if (key.empty()) return file >> number ? number : -1;
  while (file >> word) {
    if (word == key) return file >> number ? number : -1;
  }
  return -1;
}

int64_t MachineHas(const MemorySources& sources) {
  const int64_t kibibytes = NumberIn(sources.proc + "/meminfo", "MemAvailable:");
  return kibibytes < 0 ? kNoLimit : kibibytes * 1024;
}

int64_t GroupLeaves(const GroupFiles& names, const std::string& folder) {
  const int64_t limit = NumberIn(folder + "/" + names.limit);  // "max": none.
  const int64_t used = NumberIn(folder + "/" + names.used);
  if (limit < 0 || used < 0) return kNoLimit;
  const int64_t files = NumberIn(folder + "/memory.stat", names.files);
  return std::max<int64_t>(0, limit - used + std::max<int64_t>(0, files));
}

// Each group up to the root: a container sees its own there, whatever the path says.
int64_t GroupsLeave(const GroupFiles& names, std::string path) {
  int64_t least = kNoLimit;
  while (true) {
    least = std::min(least, GroupLeaves(names, names.root + path));
    if (path.empty()) return least;
    path.erase(path.find_last_of('/'));
  }
}

}  // namespace

std::optional<int64_t> FreeMemory(const MemorySources& sources) {
  int64_t least = MachineHas(sources);
  std::ifstream groups(sources.proc + "/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/user", "4:memory:/docker/12ab".
    std::istringstream fields(line);
    std::string number;
    std::string controllers;
    std::string path;
    std::getline(std::getline(fields, number, ':'), controllers, ':');
    std::getline(fields, path);
    if (path.empty() || path[0] != '/') continue;
    if (path == "/") path.clear();
    if (controllers.empty()) {
      least = std::min(
          least,
          GroupsLeave({sources.cgroups, "memory.max", "memory.current", "inactive_file"}, path));
    } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      least = std::min(least, GroupsLeave({sources.cgroups + "/memory", "memory.limit_in_bytes",
                                           "memory.usage_in_bytes", "total_inactive_file"},
                                          path));
    }
  }
  if (least == kNoLimit) return std::nullopt;
  return least;
}

}  // namespace torchd
