// The flags of `torchctl bench`, each as the table of flags in arguments.cc takes it. What is out
// of the server's ranges the server refuses, naming them; here it only has to be what it is written
// as.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/arguments.h"

namespace torchd {

absl::Status SetBatch(const std::string& value, Arguments& arguments);
absl::Status SetLength(const std::string& value, Arguments& arguments);
absl::Status SetShape(const std::string& value, Arguments& arguments);
absl::Status SetWarmUp(const std::string& value, Arguments& arguments);
absl::Status SetRepeats(const std::string& value, Arguments& arguments);
absl::Status SetDuration(const std::string& value, Arguments& arguments);
absl::Status SetConcurrency(const std::string& value, Arguments& arguments);
absl::Status SetPlan(const std::string& value, Arguments& arguments);
absl::Status SetCsv(const std::string& value, Arguments& arguments);

}  // namespace torchd
