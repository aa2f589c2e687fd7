// Which versions of a model are served, as its owner says it. Plain data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace torchd {

struct VersionPolicy {
  enum class Kind { kLatest, kAll, kSpecific };

  Kind kind = Kind::kLatest;
  int latest = 1;                 // Of kLatest: how many, the greatest numbers first.
  std::vector<int64_t> specific;  // Of kSpecific: at least one, each at least 1, no duplicates.
};

inline constexpr int kLatestVersionsMax = 1000;
inline constexpr size_t kSpecificVersionsMax = 1000;

}  // namespace torchd
