// Between the messages of the wire and the client library's own types.
//
// Thread-safety: functions without state.
#pragma once

#include <vector>

#include "client/include/torchd/client.h"
#include "torchd/v1/admin.pb.h"
#include "torchd/v1/inference.pb.h"

namespace torchd {

v1::ClassifyRequest ToWire(const std::vector<Item>& items, const ClassifyOptions& options);

Classification FromWire(const v1::ClassifyResponse& response);

ModelInfo FromWire(const v1::ModelVersion& version);

// "READY"; UNKNOWN for a state this program does not know.
std::string StateName(v1::VersionState state);

// What an item's error says; UNKNOWN for one that claims to be OK.
absl::Status StatusOf(const v1::ItemError& error);

}  // namespace torchd
