// What became of one input of `torchctl classify`, as both renderings show it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "torchd/v1/inference.pb.h"

namespace torchd {

struct InputResult {
  std::string input;  // The file as it was given, "-", or the text itself.
  // Which ran; empty and 0 when the whole call failed.
  std::string model;
  int64_t version = 0;
  // The server's answer; its `error` is turned into the status.
  absl::StatusOr<v1::ClassifyResult> result;
};

}  // namespace torchd
