// What the end of a trial means. Pure: no process, no clock.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "server/trial/trial.h"
#include "server/trial/wire.h"

namespace torchd {

// `report`: kEnded or kNotStarted. `answer`: all that came through the trial's pipe.
//
// - The trial's own error, as it reported it. So an answer may be an error of any code.
// - DEADLINE_EXCEEDED: its time was over.
// - RESOURCE_EXHAUSTED: no process or memory left to start it.
// - INTERNAL: killed by a signal, a bad exit code, an answer that is missing, cut or followed by
//   more. An answer counts only when the process then ended well.
absl::StatusOr<TrialAnswer> JudgeTrial(const TrialReport& report, std::string answer,
                                       const TrialLimits& limits);

}  // namespace torchd
