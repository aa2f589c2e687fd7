// The grammars of the names that model.yaml and config.pbtxt share.
#pragma once

#include "absl/strings/string_view.h"

namespace torchd {

// A file of the model's own folder: 1..255 bytes without '/', '..' and control characters, so that
// no model's owner makes the daemon read other files.
bool IsPlainFileName(absl::string_view name);

// [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
bool IsVersionLabel(absl::string_view label);

}  // namespace torchd
