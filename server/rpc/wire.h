// Between protobuf messages and our own types.
//
// Thread-safety: functions without state.
#pragma once

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "server/classify/classifier.h"
#include "torchd/v1/inference.pb.h"

namespace torchd {

// Borrows all bytes from `request`. What an item lacks becomes that item's status.
ClassifyCall FromWire(const v1::ClassifyRequest& request);

void ToWire(const ClassifyAnswer& answer, v1::ClassifyResponse& response);

// The same code and text; the text is cut to what fits into HTTP/2 headers.
grpc::Status ToWire(const absl::Status& status);

}  // namespace torchd
