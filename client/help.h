// What `torchctl --help`, `torchctl COMMAND --help` and `torchctl --version` print.
#pragma once

#include <string>

#include "client/arguments.h"

namespace torchd {

// kNone: of torchctl as a whole. With the last newline.
std::string HelpText(Command command);

// "torchctl 0.1.0", with the newline.
std::string VersionText();

}  // namespace torchd
