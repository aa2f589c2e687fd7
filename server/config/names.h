// The grammars of names: of models, of versions' labels, of files beside a model.
#pragma once

#include <cstddef>

#include "absl/strings/string_view.h"

namespace torchd {

// A file of the model's own folder: 1..255 bytes without '/', '..' and control characters, so that
// no model's owner makes the daemon read other files.
bool IsPlainFileName(absl::string_view name);

// Models and labels of versions: [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
inline constexpr size_t kNameLengthMax = 128;
bool IsNameCharacter(char c, bool first);
bool IsName(absl::string_view name);

}  // namespace torchd
