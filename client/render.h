// torchctl's answers for people: tables of plain text. Nothing the server says can break a line or
// steer the terminal: control characters come out as spaces.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/result.h"
#include "torchd/v1/admin.pb.h"

namespace torchd {

// Requires: result.result.ok(). Values outside 0..1 are scores, not probabilities, and so are all
// of them when `scores`; they are shown as they are instead of in percent.
std::string ClassifyTable(const InputResult& result, bool scores);

// For `torchctl plan`: each ready version's plan, and a table of those that were tried; of the
// others state and reason.
std::string PlansTable(const v1::ListModelsResponse& response);

// One line per version, beneath a line of headings. `verbose`: and beneath each version how its
// rows wait and run.
std::string ModelsTable(const v1::ListModelsResponse& response, bool verbose = false);

// For `torchctl models --names`: each model's name on a line.
std::string ModelNames(const v1::ListModelsResponse& response);

std::string StatusTable(const v1::GetServerStatusResponse& response);

// "torchctl: NOT_FOUND: no model 'x'", one line with its newline; `about`, unless it is empty,
// comes before the message.
std::string ErrorLine(const absl::Status& status, const std::string& about = "");

// As model.yaml spells it: "error", "flag"; "unknown" for one this program does not know.
std::string NonFiniteName(v1::NonFinitePolicy policy);

}  // namespace torchd
