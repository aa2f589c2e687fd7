// What gRPC knows of a call beside its message: until when, and from whom.
//
// Thread-safety: functions without state.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>

#include "server/base/clock.h"
#include "server/classify/classify.h"
#include "torchd/v1/inference.pb.h"

namespace torchd {

// gRPC's deadline on the monotonic clock, whose time is `now`.
Instant DeadlineOf(const grpc::CallbackServerContext& context, Instant now);

// A number for who calls: by the name in the metadata `torchd-client`, else by the address.
uint64_t CallerOf(const grpc::CallbackServerContext& context);

// Arrival, gRPC's deadline, and the request's own timeout.
void SetTimes(const grpc::CallbackServerContext& context, const v1::ClassifyRequest& request,
              Instant now, ClassifyCall& call);

}  // namespace torchd
