// A version as operators see it: from the registry's words to the wire's.
//
// Thread-safety: functions without state.
#pragma once

#include "server/registry/registry.h"
#include "torchd/v1/admin.pb.h"

namespace torchd {

// `rows_waiting`: of its lane, now.
void ToWire(const VersionStatus& status, int rows_waiting, v1::ModelVersion& wire);

}  // namespace torchd
