// `torchctl completion SHELL`: a script that completes commands, flags, models and files, made of
// the tables in flags.h.
#pragma once

#include <string>

namespace torchd {

// Requires: `shell` is "bash", "zsh" or "fish".
std::string CompletionScript(const std::string& shell);

}  // namespace torchd
