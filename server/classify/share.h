// How much one client may hold of what all share.
//
// Thread-safety: functions without state.
#pragma once

#include <cstdint>

namespace torchd {

// Whether a client that holds so much leaves too little to others: it may have eight times what it
// leaves, 8/9 of all if it is alone.
constexpr bool LeavesTooLittle(int64_t held, int64_t left) { return held > 8 * left; }

}  // namespace torchd
