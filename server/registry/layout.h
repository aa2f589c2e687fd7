// Which layout a repository has: folders of models, or one model that lies in it itself. Private to
// the folder `registry`.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "server/registry/repository.h"
#include "server/registry/root_folder.h"

namespace torchd {

// Whether `text` is a version as it is read back: no sign, no leading zero.
bool ParseVersion(const std::string& text, int64_t& version);

struct FoundLayout {
  Layout layout = Layout::kModels;
  std::vector<std::string> strays;  // Model files in the root that do not count.
};

// A file that strays into the root must not hide the models beside it, nor a folder the model that
// serves: what was found `before` stands while it can. `folders`: those in the root.
FoundLayout FindLayout(const RootFolder& root, const std::map<std::string, absl::Status>& folders,
                       Layout before);

}  // namespace torchd
