// torchctl's --json: for scripts, so keys are only ever added. One document, two spaces a level,
// with a newline at its end. Bytes that are not UTF-8 come out as U+FFFD; an infinite score as
// null.
#pragma once

#include <string>
#include <vector>

#include "client/result.h"
#include "torchd/v1/admin.pb.h"

namespace torchd {

// An array, one object per input: file, and either model, version, classes, non_finite
// and times_us, or error.
std::string ClassifyJson(const std::vector<InputResult>& results);

// A `string` of the wire holds nothing else.
bool IsUtf8(const std::string& text);

// An array, one object per version, with every field of ModelVersion; `scheduling`, `plan`,
// `image` and `text` are null where there is none.
std::string ModelsJson(const v1::ListModelsResponse& response);

// An object: what of ModelsJson() says what a version takes and answers.
std::string ExplainJson(const v1::ModelVersion& model);

// An object with every field of GetServerStatusResponse.
std::string StatusJson(const v1::GetServerStatusResponse& response);

}  // namespace torchd
